# SPDX-License-Identifier: Apache-2.0
# What a process needs to run our nodes from this checkout: `source scripts/env.sh` in bash. `make` does it for you.
# Sourcing it twice changes nothing.

_esam3_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"

_esam3_prepend() { # NAME DIRECTORY: puts an existing directory in front of a path list, once
  [ -d "$2" ] || return 0
  eval "_esam3_old=\"\${$1:-}\""
  case ":$_esam3_old:" in
    *":$2:"*) ;;
    *) eval "export $1=\"$2\${_esam3_old:+:\$_esam3_old}\"" ;;
  esac
}

if [ -x "$_esam3_root/.venv/bin/python" ]; then
  export VIRTUAL_ENV="$_esam3_root/.venv"
  _esam3_prepend PATH "$VIRTUAL_ENV/bin"
fi

if [ -d "$_esam3_root/.venv/share/rclpy" ]; then # ROS 2 from wheels
  export ROS_VERSION=2 ROS_PYTHON_VERSION=3
  ROS_DISTRO="$(sed "s/^wheels //" "$VIRTUAL_ENV/.ros" 2> /dev/null || echo jazzy)"
  export ROS_DISTRO
  # The wheels would otherwise start every Python process twice to set the library path themselves.
  export _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
  _esam3_prepend AMENT_PREFIX_PATH "$VIRTUAL_ENV"
  _esam3_prepend CMAKE_PREFIX_PATH "$VIRTUAL_ENV"
  _esam3_prepend LD_LIBRARY_PATH "$VIRTUAL_ENV/lib"
  for _esam3_dir in "$VIRTUAL_ENV"/lib/python3.*/site-packages/ros_*.libs; do
    _esam3_prepend LD_LIBRARY_PATH "$_esam3_dir"
  done
fi

_esam3_install="$_esam3_root/install/esam3_ros"
_esam3_prepend AMENT_PREFIX_PATH "$_esam3_install"
_esam3_prepend LD_LIBRARY_PATH "$_esam3_install/lib"
for _esam3_dir in "$_esam3_install"/lib/python3*/site-packages "$_esam3_install"/local/lib/python3*/dist-packages; do
  _esam3_prepend PYTHONPATH "$_esam3_dir"
done
_esam3_prepend PYTHONPATH "$_esam3_root" # the checkout first: edits run without another build

# An image is larger than Fast DDS's default shared memory segment and would be cut up and dropped.
case "${ROS_DISTRO:-}" in
  humble | jazzy) export FASTRTPS_DEFAULT_PROFILES_FILE="${FASTRTPS_DEFAULT_PROFILES_FILE:-$_esam3_root/config/fastdds_shm.xml}" ;;
  *) export FASTDDS_DEFAULT_PROFILES_FILE="${FASTDDS_DEFAULT_PROFILES_FILE:-$_esam3_root/config/fastdds_shm.xml}" ;;
esac
# Threads that spin while they wait take the cores from the other processes of the robot.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
export ROS_LOG_DIR="${ROS_LOG_DIR:-$_esam3_root/out/log}"

unset _esam3_root _esam3_install _esam3_dir _esam3_old
unset -f _esam3_prepend
