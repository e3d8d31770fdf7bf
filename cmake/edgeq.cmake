# edgeq_library(NAME SOURCES ... [DEPS folder ...] [PRIVATE target ...]): one static library per folder, target edgeq::NAME.
# DEPS are folders that the include table in docs/architecture.md allows; PRIVATE are third-party targets used in .cpp only.
# edgeq_test(FOLDER SOURCES ... [DEPS folder ...] [PRIVATE ...]): one test binary per folder, its cases registered with ctest.

add_library(edgeq_flags INTERFACE)
target_compile_features(edgeq_flags INTERFACE cxx_std_20)
target_compile_options(edgeq_flags INTERFACE
  -Wall -Wextra -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor -Woverloaded-virtual
  -Wno-missing-field-initializers  # designated initialisers leave the rest at its default
  $<$<CXX_COMPILER_ID:GNU>:-Wno-restrict>  # GCC 12 reports std::string's own operator+ (GCC bug 105651)
  -ffp-contract=off)    # the same float results on every platform; kernels ask for fma explicitly
target_include_directories(edgeq_flags INTERFACE ${PROJECT_SOURCE_DIR})

function(edgeq_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE" ${ARGN})
  string(REPLACE "/" "_" target edgeq_${name})
  add_library(${target} STATIC ${ARG_SOURCES})
  string(REPLACE "/" "_" alias edgeq::${name})
  add_library(${alias} ALIAS ${target})
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  list(TRANSFORM ARG_DEPS PREPEND edgeq::)
  target_link_libraries(${target} PUBLIC ${ARG_DEPS} PRIVATE edgeq_flags ${ARG_PRIVATE})
endfunction()

# Sets `result` to whether this build has all these folders: a device or cross build leaves some out, and their tests with them.
function(edgeq_all_built result)
  set(${result} TRUE PARENT_SCOPE)
  foreach(folder ${ARGN})
    if(NOT TARGET edgeq::${folder})
      set(${result} FALSE PARENT_SCOPE)
    endif()
  endforeach()
endfunction()

function(edgeq_test folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPS;PRIVATE" ${ARGN})
  edgeq_all_built(built ${ARG_DEPS})
  if(NOT EDGEQ_TESTS OR NOT built)
    return()
  endif()
  string(REPLACE "/" "_" target test_${folder})
  add_executable(${target} ${ARG_SOURCES})
  list(TRANSFORM ARG_DEPS PREPEND edgeq::)
  target_link_libraries(${target} PRIVATE edgeq_flags ${ARG_DEPS} ${ARG_PRIVATE} GTest::gmock GTest::gtest_main)
  target_compile_definitions(${target} PRIVATE EDGEQ_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  gtest_discover_tests(${target} TEST_PREFIX "${folder}." DISCOVERY_TIMEOUT 60 PROPERTIES TIMEOUT 300
    ENVIRONMENT "OMP_WAIT_POLICY=passive")
endfunction()

# For an executable that loads the LibTorch module (cli/torch_module.h): exports edgeq's symbols, so that both share one core.
function(edgeq_loads_torch_module target)
  target_link_options(${target} PRIVATE "LINKER:--dynamic-list=${PROJECT_SOURCE_DIR}/cmake/exports.list")
  set_property(TARGET ${target} APPEND PROPERTY LINK_DEPENDS ${PROJECT_SOURCE_DIR}/cmake/exports.list)
  if(EDGEQ_TORCH)
    add_dependencies(${target} edgeq_torch_module)
  endif()
endfunction()
