# SPDX-License-Identifier: Apache-2.0
"""Simulated camera, tracker and overlay, with the same parameters as `python -m esam3_ros.demo`.

    ros2 launch esam3_ros demo.launch.py
    ros2 launch esam3_ros demo.launch.py source:=video.mp4 concept:=mug rviz:=true
"""

from launch.actions import DeclareLaunchArgument, Shutdown
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from esam3_ros.demo_nodes import demo_nodes
from launch import LaunchDescription

BOOLEAN = ["true", "false"]
CONFIG = PathJoinSubstitution([FindPackageShare("esam3_ros"), "config"])


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(
            "source", default_value="scene", description="scene, a video file, a folder of images, or a bag"
        ),
        DeclareLaunchArgument("concept", default_value="cup", description="what to look for, several with commas"),
        DeclareLaunchArgument(
            "bundle", default_value="tabletop", description="the student to run: name or path of a bundle"
        ),
        DeclareLaunchArgument("rate", default_value="15.0", description="pictures per second, Hz"),
        DeclareLaunchArgument("seed", default_value="2", description="seed of the scene"),
        DeclareLaunchArgument(
            "clip",
            default_value="0",
            description="frames of the scene made in advance, 0 = made live, which takes a core",
        ),
        DeclareLaunchArgument(
            "loop", default_value="true", choices=BOOLEAN, description="start again at the end of the source"
        ),
        DeclareLaunchArgument("rviz", default_value="false", choices=BOOLEAN, description="start RViz"),
    ]
    nodes = [
        Node(
            package="esam3_ros",
            executable=spec.executable,
            name=spec.executable,
            namespace=spec.namespace,
            output="screen",
            on_exit=Shutdown(),  # without one of them there is nothing to see; the reason is in the log
            parameters=[spec.parameters] if spec.parameters else [],
            remappings=list(spec.remappings),
        )
        for spec in demo_nodes(
            {
                "source": _typed("source", str),
                "rate": _typed("rate", float),
                "seed": _typed("seed", int),
                "clip": _typed("clip", int),
                "loop": _typed("loop", bool),
            },
            concept=_typed("concept", str),
            bundle=_typed("bundle", str),
        )
    ]
    rviz = Node(
        package="rviz2",
        executable="rviz2",
        arguments=["-d", PathJoinSubstitution([CONFIG, "esam3.rviz"])],
        condition=IfCondition(LaunchConfiguration("rviz")),
    )
    return LaunchDescription([*arguments, *nodes, rviz])


def _typed(argument, kind):
    return ParameterValue(LaunchConfiguration(argument), value_type=kind)
