# SPDX-License-Identifier: Apache-2.0
"""Plays a bag in its own time and tracks in it, from the first picture on: the bag waits until the tracker is ready.

    ros2 launch esam3_ros bag.launch.py bag:=recording image:=/camera/color/image_raw concept:=cup
"""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription, RegisterEventHandler
from launch.conditions import IfCondition, UnlessCondition
from launch.event_handlers import OnProcessExit
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

BOOLEAN = ["true", "false"]
UNSET = ""  # not given: tracker.launch.py decides
PASSED_ON = (
    *("concept", "image", "image_transport", "image_reliability", "namespace", "params_file"),
    *("bundle", "backend", "device", "overlay", "rviz"),
)


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument("bag", description="the bag to play: a rosbag2 folder, or its .mcap or .db3 file"),
        DeclareLaunchArgument("rate", default_value="1.0", description="speed of playing, 1.0 = as recorded"),
        DeclareLaunchArgument("loop", default_value="false", choices=BOOLEAN, description="play again at the end"),
        DeclareLaunchArgument(
            "concept",
            default_value=UNSET,
            description="what to look for, several with commas; unset: params_file's, or cup",
        ),
        DeclareLaunchArgument(
            "image", default_value="/camera/color/image_raw", description="image topic in the bag"
        ),
        DeclareLaunchArgument(
            "image_transport",
            default_value=UNSET,
            choices=[UNSET, "raw", "compressed"],
            description="raw listens to <image>, compressed to <image>/compressed; unset: params_file's, or raw",
        ),
        DeclareLaunchArgument(
            "image_reliability",
            default_value=UNSET,
            choices=[UNSET, "auto", "best_effort", "reliable"],
            description="of the image subscriptions; auto copies the publishers'; unset: params_file's, or auto",
        ),
        DeclareLaunchArgument("namespace", default_value="esam3", description="namespace of all nodes"),
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([FindPackageShare("esam3_ros"), "config", "tracker.yaml"]),
            description="YAML file of parameters of tracker and overlay; arguments that are given win over it",
        ),
        DeclareLaunchArgument(
            "bundle",
            default_value=UNSET,
            description="the student to run: name or path of a bundle; unset: params_file's, or tabletop",
        ),
        DeclareLaunchArgument(
            "backend",
            default_value=UNSET,
            choices=[UNSET, "auto", "onnxruntime", "tensorrt"],
            description="what runs the engines; unset: params_file's, or auto",
        ),
        DeclareLaunchArgument(
            "device", default_value=UNSET, description="auto, cpu, cuda or cuda:N; unset: params_file's, or auto"
        ),
        DeclareLaunchArgument(
            "overlay", default_value="true", choices=BOOLEAN, description="start the overlay node"
        ),
        DeclareLaunchArgument("rviz", default_value="false", choices=BOOLEAN, description="start RViz"),
    ]
    tracker = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(
            PathJoinSubstitution([FindPackageShare("esam3_ros"), "launch", "tracker.launch.py"])
        ),
        launch_arguments=[*((name, LaunchConfiguration(name)) for name in PASSED_ON), ("use_sim_time", "true")],
    )
    play = ["ros2", "bag", "play", LaunchConfiguration("bag"), "--clock", "--rate", LaunchConfiguration("rate")]
    players = [
        ExecuteProcess(cmd=[*play, "--loop"], output="screen", condition=IfCondition(LaunchConfiguration("loop"))),
        ExecuteProcess(cmd=play, output="screen", condition=UnlessCondition(LaunchConfiguration("loop"))),
    ]
    # Latched, so that it cannot be missed: the tracker tells its concepts once its bundle is loaded.
    concepts = [LaunchConfiguration("namespace"), "/tracker/concepts"]
    latched = ["--qos-durability", "transient_local", "--qos-reliability", "reliable"]
    ready = ExecuteProcess(
        cmd=["ros2", "topic", "echo", "--once", *latched, concepts, "esam3_ros/msg/ConceptSet"], output="log"
    )
    play_then = RegisterEventHandler(OnProcessExit(target_action=ready, on_exit=players))
    return LaunchDescription([*arguments, tracker, play_then, ready])
