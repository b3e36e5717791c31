# SPDX-License-Identifier: Apache-2.0
"""Plays a bag in its own time and tracks in it.

    ros2 launch esam3_ros bag.launch.py bag:=recording image:=/camera/color/image_raw concept:=cup
"""

from launch.actions import DeclareLaunchArgument, ExecuteProcess, IncludeLaunchDescription
from launch.conditions import IfCondition, UnlessCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

BOOLEAN = ["true", "false"]
PASSED_ON = ("concept", "image", "image_transport", "namespace", "bundle", "device", "overlay", "rviz")


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument("bag", description="the bag to play: a rosbag2 folder, or its .mcap or .db3 file"),
        DeclareLaunchArgument("rate", default_value="1.0", description="speed of playing, 1.0 = as recorded"),
        DeclareLaunchArgument("loop", default_value="false", choices=BOOLEAN, description="play again at the end"),
        DeclareLaunchArgument("concept", default_value="cup", description="what to look for, several with commas"),
        DeclareLaunchArgument(
            "image", default_value="/camera/color/image_raw", description="image topic in the bag"
        ),
        DeclareLaunchArgument(
            "image_transport",
            default_value="raw",
            choices=["raw", "compressed"],
            description="raw listens to <image>, compressed to <image>/compressed",
        ),
        DeclareLaunchArgument("namespace", default_value="esam3", description="namespace of all nodes"),
        DeclareLaunchArgument(
            "bundle", default_value="tabletop", description="the student to run: name or path of a bundle"
        ),
        DeclareLaunchArgument("device", default_value="auto", description="auto, cpu, cuda or cuda:N"),
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
    return LaunchDescription([*arguments, tracker, *players])
