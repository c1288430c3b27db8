# cmake --install build/release --prefix X: bin/viva with the shared libraries that it needs in lib/viva, so that the tree
# runs on another Debian 12 or Ubuntu 24.04 and can be moved; and the library with its headers for find_package(viva).
install(CODE "set(CMAKE_INSTALL_DO_STRIP ON)")

if(TARGET viva_program)
  set(libraries "${CMAKE_INSTALL_LIBDIR}/viva")
  file(RELATIVE_PATH to_libraries "/${CMAKE_INSTALL_BINDIR}" "/${libraries}")
  set_target_properties(viva_program PROPERTIES INSTALL_RPATH "$ORIGIN/${to_libraries}")
  # The old kind of tag also serves the libraries that libraries need.
  target_link_options(viva_program PRIVATE -Wl,--disable-new-dtags -Wl,--as-needed -Wl,--gc-sections)
  install(TARGETS viva_program RUNTIME_DEPENDENCY_SET shared)
  # All but what every system has in its own version: the loader, the C library and its parts.
  install(RUNTIME_DEPENDENCY_SET shared DESTINATION "${libraries}"
    PRE_EXCLUDE_REGEXES "^ld-linux.*" "^lib(c|m|dl|rt|pthread|resolv|mvec)\\.so.*")

  # The program writes its own man page and completions, from the table of options that parses them.
  if(NOT CMAKE_CROSSCOMPILING)
    set(pages "${PROJECT_BINARY_DIR}/pages")
    file(MAKE_DIRECTORY "${pages}")
    add_custom_command(TARGET viva_program POST_BUILD VERBATIM
      COMMAND viva_program --man > "${pages}/viva.1"
      COMMAND viva_program --completion bash > "${pages}/viva.bash"
      COMMAND viva_program --completion zsh > "${pages}/_viva"
      COMMAND viva_program --completion fish > "${pages}/viva.fish")
    install(FILES "${pages}/viva.1" DESTINATION "${CMAKE_INSTALL_MANDIR}/man1")
    install(FILES "${pages}/viva.bash" DESTINATION "${CMAKE_INSTALL_DATADIR}/bash-completion/completions" RENAME viva)
    install(FILES "${pages}/_viva" DESTINATION "${CMAKE_INSTALL_DATADIR}/zsh/site-functions")
    install(FILES "${pages}/viva.fish" DESTINATION "${CMAKE_INSTALL_DATADIR}/fish/vendor_completions.d")
  endif()
endif()

install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
install(TARGETS viva EXPORT viva-targets ARCHIVE)
# Of the formats only the contract: the others are sections of the generated units.
install(DIRECTORY viva DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.h" PATTERN "*.inc" PATTERN "*-inl.h" EXCLUDE PATTERN "formats" EXCLUDE)
install(FILES viva/formats/format.h DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/viva/formats")

include(CMakePackageConfigHelpers)
set(package "${CMAKE_INSTALL_LIBDIR}/cmake/viva")
install(EXPORT viva-targets NAMESPACE viva:: DESTINATION "${package}")
configure_file(cmake/viva-config.cmake.in viva-config.cmake @ONLY)
write_basic_package_version_file(viva-config-version.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/viva-config.cmake" "${PROJECT_BINARY_DIR}/viva-config-version.cmake" DESTINATION "${package}")
file(RELATIVE_PATH TO_PREFIX "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
# By the names that the linker finds here: the archives have no pkg-config files of their own, some others no sound ones.
set(LINKED_LIBRARIES "")
foreach(library IN ITEMS ${XXHASH_LIBRARY} ${HWLOC_LIBRARY} ${UDEV_LIBRARY} ${OPENBLAS_LIBRARY} ${DNNL_LIBRARY} ${GOMP_LIBRARY})
  get_filename_component(name "${library}" NAME)
  string(APPEND LINKED_LIBRARIES " -l:${name}")
endforeach()
configure_file(cmake/viva.pc.in viva.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/viva.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
