# Flags of the one source file per instruction set in runtime/kernels. Everything else is built at the platform's baseline;
# which table runs is decided at run time (runtime/kernels/dispatch.cpp).
set(EDGEQ_ISA_SOURCES kernels/scalar.cpp)
set(EDGEQ_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(EDGEQ_ISA_FLAGS_avx512vnni -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c)
set(EDGEQ_ISA_FLAGS_neondot -march=armv8.2-a+dotprod+fp16)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  set(EDGEQ_ISAS avx2 avx512vnni)
elseif(CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64")
  set(EDGEQ_ISAS neondot)
endif()
