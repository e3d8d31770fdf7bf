# Third-party dependencies of a cross build. Headers are taken from the host through a folder of links, since the
# host's include folder as a whole holds headers of the wrong C library. Compiled libraries must exist for the target, as
# Debian's packages of that architecture. GoogleTest is built from its source package.
find_package(Threads REQUIRED)

set(_links ${PROJECT_BINARY_DIR}/host_headers)
file(MAKE_DIRECTORY ${_links})
foreach(header fmt nlohmann CLI xxhash.h pcre2.h utf8proc.h)
  if(NOT EXISTS /usr/include/${header})
    message(FATAL_ERROR "/usr/include/${header} is missing: a cross build takes headers from the host")
  endif()
  file(CREATE_LINK /usr/include/${header} ${_links}/${header} SYMBOLIC)
endforeach()
foreach(target fmt::fmt-header-only nlohmann_json::nlohmann_json CLI11::CLI11 edgeq_xxhash)
  add_library(${target} INTERFACE IMPORTED)
  target_include_directories(${target} SYSTEM INTERFACE ${_links})
endforeach()
target_compile_definitions(fmt::fmt-header-only INTERFACE FMT_HEADER_ONLY=1)

foreach(library pcre2-8 utf8proc)
  string(REGEX REPLACE "-.*" "" name ${library})
  find_library(${name}_LIBRARY lib${library}.a PATHS /usr/lib/${CMAKE_SYSTEM_PROCESSOR}-linux-gnu NO_DEFAULT_PATH)
  if(NOT ${name}_LIBRARY)
    message(FATAL_ERROR "no static ${name} for ${CMAKE_SYSTEM_PROCESSOR}; ./dev build device-arm64 installs it on Debian")
  endif()
  add_library(edgeq_${name} INTERFACE)
  target_include_directories(edgeq_${name} SYSTEM INTERFACE ${_links})
  target_link_libraries(edgeq_${name} INTERFACE ${${name}_LIBRARY})
endforeach()

if(EDGEQ_TESTS)
  add_subdirectory(/usr/src/googletest ${PROJECT_BINARY_DIR}/googletest EXCLUDE_FROM_ALL)
  include(GoogleTest)
endif()
