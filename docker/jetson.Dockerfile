# SPDX-License-Identifier: Apache-2.0
# esam3 on a Jetson: ROS 2, TensorRT of the board's own JetPack, ONNX Runtime; no torch. Build it on the board:
#
#   JetPack 6.2 (Orin; Ubuntu 22.04, TensorRT 10.3):
#     docker build -f docker/jetson.Dockerfile -t esam3:jp6.2 .
#   JetPack 7.2 (Orin and Thor; Ubuntu 24.04, TensorRT 10.16):
#     docker build -f docker/jetson.Dockerfile -t esam3:jp7.2 --build-arg ROS=jazzy --build-arg L4T=r39.2 .
#
#   docker run -it --rm --runtime nvidia --network host --ipc host -v ~/esam3:/bundles esam3:jp6.2
#
# TensorRT comes from NVIDIA's package server for the release of Jetson Linux in L4T, and must be that of the board's
# JetPack (`cat /etc/nv_tegra_release`): engines are built for one version. The driver comes from the board itself.
ARG ROS=humble
FROM ros:${ROS}-ros-base
ARG ROS
ARG L4T=r36.4
ENV DEBIAN_FRONTEND=noninteractive

RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates curl gnupg \
 && curl -fsSL https://repo.download.nvidia.com/jetson/jetson-ota-public.asc -o /etc/apt/trusted.gpg.d/jetson.asc \
 && echo "deb https://repo.download.nvidia.com/jetson/common ${L4T} main" > /etc/apt/sources.list.d/jetson.list \
 && apt-get update && apt-get install -y --no-install-recommends \
      python3-libnvinfer python3-pip python3-venv ros-${ROS}-cv-bridge ros-${ROS}-vision-msgs \
 && rm -rf /var/lib/apt/lists/*

WORKDIR /ws/src/esam3
COPY . .
# --break-system-packages: Ubuntu 24.04 asks for it; this image is for nothing else. onnx is what `esam3 build` reads.
RUN python3 -m pip install --no-cache-dir -r requirements-robot.txt "onnx>=1.17" \
      $(python3 -m pip install --help | grep -q break-system-packages && echo --break-system-packages)
RUN apt-get update && . /opt/ros/${ROS}/setup.sh && cd /ws \
 && rosdep update --rosdistro ${ROS} && rosdep install --from-paths src -y --ignore-src \
 && colcon build && rm -rf /var/lib/apt/lists/*

ENV ESAM3_BUNDLES=/bundles FASTRTPS_DEFAULT_PROFILES_FILE=/ws/src/esam3/config/fastdds_shm.xml
RUN printf '#!/bin/sh\n. /opt/ros/%s/setup.sh\n. /ws/install/setup.sh\nexec "$@"\n' "${ROS}" > /entry && chmod +x /entry
ENTRYPOINT ["/entry"]
CMD ["python3", "-m", "esam3_core", "doctor"]
