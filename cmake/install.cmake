# What `cmake --install` puts where: the library, its header, the CMake package and the pkg-config file; and the target
# `uninstall`, which takes away what the last installation from this build folder put there. All of it is relocatable.
include(CMakePackageConfigHelpers)

# Components are the packages' parts: runtime, development, cuda, tools. An installation has all of them.
install(TARGETS tessera EXPORT tesseraTargets
  LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR} COMPONENT runtime NAMELINK_COMPONENT development
  INCLUDES DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(DIRECTORY ${PROJECT_SOURCE_DIR}/capi/include/tessera
  DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} COMPONENT development FILES_MATCHING PATTERN "*.h")
install(FILES ${PROJECT_SOURCE_DIR}/LICENSE ${PROJECT_SOURCE_DIR}/THIRD_PARTY.md
  DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT runtime)
# Modules, loaded by the library and linked by nobody: beside it, in a folder of their own.
foreach(module tessera_cuda tessera_gloo)
  if(TARGET ${module})
    set(component runtime)
    if(module STREQUAL tessera_cuda)
      set(component cuda)
    endif()
    install(TARGETS ${module} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}/tessera COMPONENT ${component})
  endif()
endforeach()

set(TESSERA_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/tessera)
install(EXPORT tesseraTargets NAMESPACE tessera:: DESTINATION ${TESSERA_PACKAGE_DIR} COMPONENT development)
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/tesseraConfig.cmake.in
  ${PROJECT_BINARY_DIR}/generated/tesseraConfig.cmake INSTALL_DESTINATION ${TESSERA_PACKAGE_DIR})
# Before 1.0 a minor version may break programs, as CHANGELOG.md says.
write_basic_package_version_file(${PROJECT_BINARY_DIR}/generated/tesseraConfigVersion.cmake
  VERSION ${PROJECT_VERSION} COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/generated/tesseraConfig.cmake
  ${PROJECT_BINARY_DIR}/generated/tesseraConfigVersion.cmake DESTINATION ${TESSERA_PACKAGE_DIR}
  COMPONENT development)

set(TESSERA_PC_DIR ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
if(IS_ABSOLUTE "${CMAKE_INSTALL_LIBDIR}" OR IS_ABSOLUTE "${CMAKE_INSTALL_INCLUDEDIR}")
  set(TESSERA_PC_PREFIX ${CMAKE_INSTALL_PREFIX})
  set(TESSERA_PC_LIBDIR ${CMAKE_INSTALL_FULL_LIBDIR})
  set(TESSERA_PC_INCLUDEDIR ${CMAKE_INSTALL_FULL_INCLUDEDIR})
else()
  file(RELATIVE_PATH TESSERA_PC_UP /prefix/${TESSERA_PC_DIR} /prefix)
  string(REGEX REPLACE "/$" "" TESSERA_PC_UP "${TESSERA_PC_UP}")
  set(TESSERA_PC_PREFIX "\${pcfiledir}/${TESSERA_PC_UP}")
  set(TESSERA_PC_LIBDIR "\${prefix}/${CMAKE_INSTALL_LIBDIR}")
  set(TESSERA_PC_INCLUDEDIR "\${prefix}/${CMAKE_INSTALL_INCLUDEDIR}")
endif()
configure_file(${CMAKE_CURRENT_LIST_DIR}/tessera.pc.in ${PROJECT_BINARY_DIR}/generated/tessera.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/generated/tessera.pc DESTINATION ${TESSERA_PC_DIR} COMPONENT development)

add_custom_target(uninstall
  COMMAND ${CMAKE_COMMAND} -D MANIFEST=${PROJECT_BINARY_DIR}/install_manifest.txt
    -P ${CMAKE_CURRENT_LIST_DIR}/uninstall.cmake
  COMMENT "Removing what was installed from this build folder" VERBATIM)
