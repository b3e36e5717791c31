# SPDX-License-Identifier: Apache-2.0
# Stops with a sentence when CMake found another Python than the one this ROS 2 was built for. Without it the build
# succeeds and every import of a message fails at run time.
if(NOT Python3_EXECUTABLE)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
endif()

execute_process(
  COMMAND ${Python3_EXECUTABLE} -c "import rosidl_generator_py, sys; \
print(rosidl_generator_py.__file__); print('%d.%d' % sys.version_info[:2])"
  OUTPUT_VARIABLE found
  ERROR_VARIABLE failure
  RESULT_VARIABLE failed
  OUTPUT_STRIP_TRAILING_WHITESPACE
)
if(failed)
  message(FATAL_ERROR
    "${Python3_EXECUTABLE} cannot import rosidl_generator_py: source the setup file of your ROS 2, or name its "
    "Python: colcon build --cmake-args -DPython3_EXECUTABLE=/usr/bin/python3\n${failure}")
endif()
if(found MATCHES "/python([0-9]+\\.[0-9]+)/")
  set(ros_python ${CMAKE_MATCH_1})
  string(REGEX MATCH "[0-9]+\\.[0-9]+$" our_python "${found}")
  if(NOT ros_python VERSION_EQUAL our_python)
    message(FATAL_ERROR
      "This ROS 2 is built for Python ${ros_python}, but CMake found ${Python3_EXECUTABLE} (Python ${our_python}). "
      "Name the right one: colcon build --cmake-args -DPython3_EXECUTABLE=/usr/bin/python${ros_python}")
  endif()
endif()
