# One source file per instruction set in runtime/kernels, each with its own flags; everything else is built at the platform's
# baseline. Which of them runs is decided at run time (runtime/kernels/dispatch.cpp).
# -O3 in every build type: -Os (device) and -O1 (dev) would spill the register tiles, which is all that these files are.
set(EDGEQ_ISA_FLAGS_avx2 -O3 -mavx2 -mfma -mf16c)
# GCC 12's own AVX-512 header spells "undefined register" as a variable initialised with itself.
set(EDGEQ_ISA_FLAGS_avx512vnni -O3 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c
  -Wno-uninitialized -Wno-maybe-uninitialized)
set(EDGEQ_ISA_FLAGS_amx ${EDGEQ_ISA_FLAGS_avx512vnni} -mamx-tile -mamx-int8)
set(EDGEQ_ISA_FLAGS_neondot -O3 -march=armv8.2-a+dotprod)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(EDGEQ_ISAS avx2 avx512vnni amx)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(EDGEQ_ISAS neondot)
endif()

function(edgeq_isa_sources target)
  foreach(isa ${EDGEQ_ISAS})
    target_sources(${target} PRIVATE ${isa}.cpp)
    set_source_files_properties(${isa}.cpp PROPERTIES COMPILE_OPTIONS "${EDGEQ_ISA_FLAGS_${isa}}")
  endforeach()
endfunction()
