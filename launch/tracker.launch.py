# SPDX-License-Identifier: Apache-2.0
"""Tracker, and if wanted overlay and RViz, for a camera that is already running.

    ros2 launch esam3_ros tracker.launch.py concept:=cup image:=/camera/color/image_raw
"""

from pathlib import Path

from launch.actions import DeclareLaunchArgument, OpaqueFunction, SetEnvironmentVariable
from launch.conditions import IfCondition
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from launch import LaunchDescription

BOOLEAN = ["true", "false"]
UNSET = ""  # not given: what params_file says counts, or else the node's own default
OF_BOTH = {"image_transport": str, "image_reliability": str, "use_sim_time": bool}  # parameter -> its type
OF_TRACKER = {"concepts": str, "bundle": str, "backend": str, "device": str, "autostart": bool, **OF_BOTH}
CONFIG = PathJoinSubstitution([FindPackageShare("esam3_ros"), "config"])


def generate_launch_description():
    arguments = [
        DeclareLaunchArgument(
            "concept",
            default_value=UNSET,
            description="what to look for, as concept:='red mug,bottle'; unset: params_file's, or cup",
        ),
        DeclareLaunchArgument(
            "image", default_value="/camera/color/image_raw", description="image topic of the camera"
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
            default_value=PathJoinSubstitution([CONFIG, "tracker.yaml"]),
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
            "overlay",
            default_value="true",
            choices=BOOLEAN,
            description="start the overlay node, which draws tracks on the image while somebody looks",
        ),
        DeclareLaunchArgument("rviz", default_value="false", choices=BOOLEAN, description="start RViz"),
        DeclareLaunchArgument(
            "autostart",
            default_value=UNSET,
            choices=[UNSET, *BOOLEAN],
            description="false leaves configure and activate to a lifecycle manager; unset: params_file's, or true",
        ),
        DeclareLaunchArgument(
            "use_sim_time",
            default_value=UNSET,
            choices=[UNSET, *BOOLEAN],
            description="take the time from /clock (bags, simulators); unset: params_file's, or false",
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
    return LaunchDescription([*arguments, *shared_memory, OpaqueFunction(function=_nodes), rviz])


def _nodes(context):
    """Tracker and overlay; a function, because only here it is known which arguments were given."""
    image = LaunchConfiguration("image")
    common = {"package": "esam3_ros", "namespace": LaunchConfiguration("namespace"), "output": "screen"}
    images = [("image", image), ("image/compressed", [image, "/compressed"])]
    log = ["--ros-args", "--log-level", LaunchConfiguration("log_level")]
    tracker = Node(
        executable="tracker",
        name="tracker",
        parameters=_parameters(context, OF_TRACKER),
        remappings=images,
        arguments=[*log, "-p", "concepts:=cup"],  # before params_file, which therefore wins over it
        **common,
    )
    overlay = Node(
        executable="overlay",
        name="overlay",
        parameters=_parameters(context, OF_BOTH),
        remappings=[*images, ("tracks", "tracker/tracks")],
        arguments=log,
        condition=IfCondition(LaunchConfiguration("overlay")),
        **common,
    )
    return [tracker, overlay]


def _parameters(context, kinds):
    """params_file, and after it, because the last one wins, the arguments that were given."""
    file = LaunchConfiguration("params_file")
    path = Path(file.perform(context))
    if not path.is_file():
        raise RuntimeError(f"params_file:={path} is no file: name a YAML file of parameters, or leave the argument out")
    arguments = {name: LaunchConfiguration("concept" if name == "concepts" else name) for name in kinds}
    given = {
        name: ParameterValue(argument, value_type=kinds[name])
        for name, argument in arguments.items()
        if argument.perform(context) != UNSET
    }
    return [file, *([given] if given else [])]
