# SPDX-License-Identifier: Apache-2.0
# The architecture as a test: who may include whom, where each outside interface is confined, and what
# every file owes its reader. Comments are not looked at, so they may name what code may not.
cmake_minimum_required(VERSION 3.25)
set(layers templates generator tuning_db runtime tuner)  # a file includes from its own or the left

# "what|regular expression over code|^regular expression of the paths that may"
set(confinements
  "sqlite3.h|#include *<sqlite3[.]h>|^tuning_db/[a-z_]+[.]cpp$"
  "the SQLite wrapper|#include *\"tuning_db/sqlite[.]h\"|^tuning_db/[a-z_]+[.](cpp|h)$"
  "nvrtc.h|#include *<nvrtc[.]h>|^runtime/compiler[.]cpp$"
  "cuda.h|#include *<cuda[.]h>|^(runtime/.*|tuner/[a-z_]+[.]cpp)$"
  "CLI11|#include *<CLI/|^tuner/typed_words[.]cpp$"
  "LLVM|#include *<llvm/|^(generator|tuner)/"
  "inline PTX|asm +(volatile)? *\\(|^(templates/ptx[a-z_0-9]*[.]cuh|generator/emit_wgmma[.]cpp)$"
  "starting processes|[^a-z_>.](v?fork|exec[lv][pe]*|posix_spawnp?|popen|system) *\\(|^tuner/worker[.]cpp$"
  "writing to the terminal|(std::c(out|err|log)|[^a-z_]f?printf *\\(|[^a-z_]f?puts *\\(|fmt::print *\\(|[^a-z_](stdout|stderr)[^a-z_])|^tuner/")
set(forbidden_words util utils common misc helper helpers manager handler engine base core impl factory)
set(max_lines 400)
set(max_mainloop_lines 500)

if(NOT DEFINED MIN_FILES)
  set(MIN_FILES 50)
endif()
file(GLOB_RECURSE files RELATIVE ${SOURCE_DIR}
  ${SOURCE_DIR}/templates/*.h ${SOURCE_DIR}/templates/*.cuh ${SOURCE_DIR}/generator/*.h
  ${SOURCE_DIR}/generator/*.cpp ${SOURCE_DIR}/tuning_db/*.h ${SOURCE_DIR}/tuning_db/*.cpp
  ${SOURCE_DIR}/runtime/*.h ${SOURCE_DIR}/runtime/*.cpp ${SOURCE_DIR}/tuner/*.h
  ${SOURCE_DIR}/tuner/*.cpp ${SOURCE_DIR}/tests/*.h ${SOURCE_DIR}/tests/*.cpp)
list(LENGTH files count)
if(count LESS MIN_FILES)
  message(FATAL_ERROR "only ${count} files under ${SOURCE_DIR}: this check looks in the wrong place")
endif()

function(check_file path text)
  if(NOT text MATCHES "^(//|/[*]) SPDX-License-Identifier: Apache-2[.]0( [*]/)?\n")
    message(SEND_ERROR "${path} does not start with the SPDX line")
  endif()
  string(REGEX MATCHALL "\n" ends "${text}")
  list(LENGTH ends lines)
  set(limit ${max_lines})
  if(path MATCHES "^templates/gemm_")
    set(limit ${max_mainloop_lines})
  endif()
  if(lines GREATER limit)
    message(SEND_ERROR "${path} has ${lines} lines, more than ${limit}")
  endif()
  get_filename_component(name ${path} NAME_WE)
  string(REPLACE "_" ";" words ${name})
  foreach(word IN LISTS words)
    if(word IN_LIST forbidden_words)
      message(SEND_ERROR "${path}: '${word}' names nothing")
    endif()
  endforeach()
endfunction()

function(check_includes path code)
  string(REGEX REPLACE "/.*" "" folder ${path})
  list(FIND layers ${folder} own)
  if(own EQUAL -1)
    return()  # tests may include anything
  endif()
  string(REGEX MATCHALL "#include *\"[^\"\n]+\"" includes "${code}")
  foreach(include IN LISTS includes)
    string(REGEX REPLACE ".*\"([^\"]+)\"" "\\1" target "${include}")
    if(NOT target MATCHES "/" AND folder STREQUAL templates)
      continue()  # the device's include path is templates/ itself
    endif()
    string(REGEX REPLACE "/.*" "" target_folder "${target}")
    list(FIND layers "${target_folder}" other)
    if(other EQUAL -1)
      message(SEND_ERROR "${path} includes \"${target}\", which is no path from the repository's root")
    elseif(other GREATER own)
      message(SEND_ERROR "${path} includes \"${target}\", to its right in: ${layers}")
    endif()
  endforeach()
endfunction()

# A .cpp includes its own header before anything else: that it compiles proves that the header does so
# alone. Headers without a .cpp are compiled by the test lone_headers.
function(check_own_header path code)
  string(REGEX REPLACE "[.]cpp$" ".h" header ${path})
  if(path MATCHES "[.]cpp$" AND EXISTS ${SOURCE_DIR}/${header}
      AND NOT code MATCHES "^[ \n]*#include *\"${header}\"")
    message(SEND_ERROR "${path} does not include \"${header}\" before anything else")
  endif()
  if(path MATCHES "[.]h$" AND NOT code MATCHES "#(pragma once|ifndef [A-Z0-9_]+_H)\n")
    message(SEND_ERROR "${path} has no #pragma once")
  endif()
endfunction()

function(check_confinement path code)
  if(path MATCHES "^tests/")
    return()
  endif()
  foreach(rule IN LISTS confinements)
    string(FIND "${rule}" "|" first)
    string(FIND "${rule}" "|^" last REVERSE)
    math(EXPR begin "${first} + 1")
    math(EXPR length "${last} - ${begin}")
    math(EXPR tail "${last} + 1")
    string(SUBSTRING "${rule}" 0 ${first} what)
    string(SUBSTRING "${rule}" ${begin} ${length} pattern)
    string(SUBSTRING "${rule}" ${tail} -1 allowed)
    if(NOT path MATCHES "${allowed}" AND "\n${code}" MATCHES "${pattern}")
      message(SEND_ERROR "${path} uses ${what} (${CMAKE_MATCH_0}), which belongs in ${allowed}")
    endif()
  endforeach()
endfunction()

foreach(path IN LISTS files)
  file(READ ${SOURCE_DIR}/${path} text)
  # Characters that mean something in CMake's lists.
  string(REGEX REPLACE "[][;\\]" "~" text "${text}")
  string(REGEX REPLACE "//[^\n]*" "" code "${text}")
  check_file(${path} "${text}")
  check_includes(${path} "${code}")
  check_own_header(${path} "${code}")
  check_confinement(${path} "${code}")
endforeach()
message(STATUS "${count} files")
