# SPDX-License-Identifier: Apache-2.0
# Installs BINARY_DIR into FOLDER and builds what users would against it and nothing else: a program in C
# with pkg-config, the example in C++ with find_package. Both run on the emulated device.
cmake_minimum_required(VERSION 3.25)

function(run)
  execute_process(COMMAND ${ARGV} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "${ARGV} failed (${status}):\n${output}")
  endif()
  set(output "${output}" PARENT_SCOPE)
endfunction()

file(REMOVE_RECURSE ${FOLDER})
set(prefix ${FOLDER}/prefix)
run(${CMAKE_COMMAND} --install ${BINARY_DIR} --prefix ${prefix})

# The library's symbols are the header's functions, no more and no fewer.
file(READ ${prefix}/include/nvfp4/nvfp4.h header)
string(REGEX MATCHALL "nvfp4_[a-z_]+\\(" declared "${header}")
list(TRANSFORM declared REPLACE "\\($" "")
list(FILTER declared EXCLUDE REGEX "^nvfp4_last_error$")  # named in comments too: checked below
list(REMOVE_DUPLICATES declared)
list(APPEND declared nvfp4_last_error)
list(SORT declared)
run(objdump -T ${prefix}/lib/libnvfp4.so)
string(REGEX MATCHALL "[.]text[^\n]*" lines "${output}")
set(exported "")
foreach(line IN LISTS lines)
  string(REGEX REPLACE ".* " "" name "${line}")
  list(APPEND exported ${name})
endforeach()
list(SORT exported)
if(NOT exported STREQUAL declared)
  message(SEND_ERROR "libnvfp4.so exports\n  ${exported}\nwhere the header declares\n  ${declared}")
endif()
run(objdump -p ${prefix}/lib/libnvfp4.so)
if(NOT output MATCHES "SONAME +libnvfp4[.]so[.][0-9]+\n")
  message(SEND_ERROR "libnvfp4.so has no soname with its ABI version")
endif()

# In C, with pkg-config where there is one.
find_program(PKG_CONFIG pkg-config)
set(flags -I${prefix}/include -L${prefix}/lib -lnvfp4)
if(PKG_CONFIG)
  run(${CMAKE_COMMAND} -E env PKG_CONFIG_PATH=${prefix}/lib/pkgconfig
    ${PKG_CONFIG} --cflags --libs nvfp4)
  string(STRIP "${output}" flags)
  separate_arguments(flags UNIX_COMMAND "${flags}")
else()
  message(STATUS "pkg-config is missing: nvfp4.pc was not tried")
endif()
run(${CC} -std=c99 -Wall -Wextra -Werror ${SOURCE_DIR}/tests/consumer/main.c -o ${FOLDER}/consumer
  ${flags} -Wl,-rpath,${prefix}/lib)
set(quiet_home NVFP4_CACHE=${FOLDER}/cache XDG_DATA_HOME=${FOLDER}/data)
run(${CMAKE_COMMAND} -E env ${quiet_home} ${FOLDER}/consumer)
if(NOT output MATCHES "^[0-9.]+ family=mma")
  message(SEND_ERROR "the program in C printed: ${output}")
endif()

# In C++, with find_package; the emulated driver takes the place of libcuda.so.
run(${CMAKE_COMMAND} -S ${SOURCE_DIR}/examples/cpp -B ${FOLDER}/example -Dnvfp4_ROOT=${prefix}
  -DCUDA_DRIVER=${prefix}/lib/libnvfp4_emulator.so -DCMAKE_BUILD_RPATH=${prefix}/lib)
run(${CMAKE_COMMAND} --build ${FOLDER}/example)
run(${CMAKE_COMMAND} -E env ${quiet_home} ${FOLDER}/example/decode_step emulated:h100)
if(NOT output MATCHES "[(]emulated[)]: 3 decode steps of 4 tokens, mean .out. = [0-9]")
  message(SEND_ERROR "the example printed: ${output}")
endif()
