# SPDX-License-Identifier: Apache-2.0
"""Tracker, and if wanted overlay and RViz, for a camera that is already running.

    ros2 launch esam3_ros tracker.launch.py concept:=cup image:=/camera/color/image_raw
"""

from launch.actions import DeclareLaunchArgument, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

BOOLEAN = ["true", "false"]
CONFIG = PathJoinSubstitution([FindPackageShare("esam3_ros"), "config"])


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(
            "concept",
            default_value="cup",
            description="what to look for, several with commas: concept:=cup or concept:='red mug,bottle'",
        ),
        DeclareLaunchArgument(
            "image", default_value="/camera/color/image_raw", description="image topic of the camera"
        ),
        DeclareLaunchArgument(
            "image_transport",
            default_value="raw",
            choices=["raw", "compressed"],
            description="raw listens to <image>, compressed to <image>/compressed",
        ),
        DeclareLaunchArgument("namespace", default_value="esam3", description="namespace of all nodes"),
        DeclareLaunchArgument(
            "params_file",
            default_value=PathJoinSubstitution([CONFIG, "tracker.yaml"]),
            description="YAML file of the tracker's parameters; the arguments here win over it",
        ),
        DeclareLaunchArgument(
            "bundle", default_value="tabletop", description="the student to run: name or path of a bundle"
        ),
        DeclareLaunchArgument("device", default_value="auto", description="auto, cpu, cuda or cuda:N"),
        DeclareLaunchArgument(
            "overlay",
            default_value="true",
            choices=BOOLEAN,
            description="start the overlay node, which draws tracks on the image while somebody looks",
        ),
        DeclareLaunchArgument("rviz", default_value="false", choices=BOOLEAN, description="start RViz"),
        DeclareLaunchArgument(
            "autostart",
            default_value="true",
            choices=BOOLEAN,
            description="the tracker configures and activates itself; false leaves that to a lifecycle manager",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value="false",
            choices=BOOLEAN,
            description="take the time from /clock (bags, simulators)",
        ),
        DeclareLaunchArgument(
            "shared_memory",
            default_value="false",
            choices=BOOLEAN,
            description="Fast DDS with shared memory large enough for images; start the camera driver with it too",
        ),
        DeclareLaunchArgument(
            "log_level",
            default_value="info",
            choices=["debug", "info", "warn", "error", "fatal"],
            description="log level of the nodes",
        ),
    ]
    image = LaunchConfiguration("image")
    sim_time = {"use_sim_time": ParameterValue(LaunchConfiguration("use_sim_time"), value_type=bool)}
    transport = {"image_transport": LaunchConfiguration("image_transport")}
    images = [("image", image), ("image/compressed", [image, "/compressed"])]
    log = ["--ros-args", "--log-level", LaunchConfiguration("log_level")]
    namespace = LaunchConfiguration("namespace")
    tracker = Node(
        package="esam3_ros",
        executable="tracker",
        name="tracker",
        namespace=namespace,
        output="screen",
        parameters=[
            LaunchConfiguration("params_file"),
            {
                "concepts": ParameterValue(LaunchConfiguration("concept"), value_type=str),
                "bundle": ParameterValue(LaunchConfiguration("bundle"), value_type=str),
                "device": ParameterValue(LaunchConfiguration("device"), value_type=str),
                "autostart": ParameterValue(LaunchConfiguration("autostart"), value_type=bool),
                **transport,
                **sim_time,
            },
        ],
        remappings=images,
        arguments=log,
    )
    overlay = Node(
        package="esam3_ros",
        executable="overlay",
        name="overlay",
        namespace=namespace,
        output="screen",
        parameters=[{**transport, **sim_time}],
        remappings=[*images, ("tracks", "tracker/tracks")],
        arguments=log,
        condition=IfCondition(LaunchConfiguration("overlay")),
    )
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([CONFIG, "esam3.rviz"])],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    # Both names: Fast DDS changed it, and each release reads its own.
    shared_memory = [
        SetEnvironmentVariable(
            name,
            PathJoinSubstitution([CONFIG, "fastdds_shm.xml"]),
            condition=IfCondition(LaunchConfiguration("shared_memory")),
        )
        for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    ]
    return LaunchDescription([*arguments, *shared_memory, tracker, overlay, rviz])
