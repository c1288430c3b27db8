# Compile through ccache where it is there, so that two checkouts of the same tree share their objects.
find_program(VIVA_CCACHE ccache DOC "ccache, or empty")
mark_as_advanced(VIVA_CCACHE)
if(VIVA_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}" CCACHE_NOHASHDIR=1
    CCACHE_SLOPPINESS=pch_defines,time_macros "${VIVA_CCACHE}")
endif()
