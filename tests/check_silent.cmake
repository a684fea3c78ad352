# SPDX-License-Identifier: Apache-2.0
# Runs PROGRAM with ARGUMENTS (a list with commas) TIMES times: each must end with status 0 and write
# nothing, not to stdout and not to stderr.
string(REPLACE "," ";" arguments "${ARGUMENTS}")
foreach(time RANGE 1 ${TIMES})
  execute_process(COMMAND ${PROGRAM} ${arguments} RESULT_VARIABLE status OUTPUT_VARIABLE out
    ERROR_VARIABLE err TIMEOUT 120)
  if(NOT status STREQUAL 0 OR NOT "${out}${err}" STREQUAL "")
    message(FATAL_ERROR "run ${time} of ${PROGRAM} ${arguments}: status ${status}\n"
      "stdout: ${out}\nstderr: ${err}")
  endif()
endforeach()
