# SPDX-License-Identifier: Apache-2.0
# A static or thread-local object with a destructor makes a function of LIBRARY call __cxa_atexit or
# __cxa_thread_atexit. Only atexit() itself may, which the gate before NVRTC's clean-up calls; with a
# sanitizer that is a function of the sanitizer.
execute_process(COMMAND ${OBJDUMP} -d --no-show-raw-insn ${LIBRARY}
  COMMAND awk "/^[0-9a-f]+ <.*>:$/ { function_name = $2 }
    /<__cxa_(thread_)?atexit@plt>$/ { print function_name }
    /call .*<atexit@plt>$/ { print \"<atexit>:\" }"
  OUTPUT_VARIABLE callers RESULTS_VARIABLE status)
string(REPLACE "<__cxa_atexit@plt>:\n" "" callers "${callers}")
if(NOT status STREQUAL "0;0" OR NOT callers STREQUAL "<atexit>:\n")
  message(FATAL_ERROR "${LIBRARY}: status ${status}; registered by other than atexit(): ${callers}")
endif()
