# SPDX-License-Identifier: MIT
# The opt-ins contrail::pfr and contrail::fmt, for contrail's own build and for its installed package alike.

# Defines contrail::<component> if its dependency is installed, else leaves it undefined.
function(contrail_add_component component)
  if(TARGET contrail::${component})
    return()
  endif()
  if(component STREQUAL "pfr")
    set(dependency Boost::headers)
    if(NOT TARGET ${dependency})
      find_package(Boost 1.75 CONFIG QUIET) # the first with PFR
    endif()
  elseif(component STREQUAL "fmt")
    set(dependency fmt::fmt)
    if(NOT TARGET ${dependency})
      find_package(fmt 9 CONFIG QUIET)
    endif()
  else()
    return()
  endif()
  if(NOT TARGET ${dependency})
    return()
  endif()
  # What is found here is visible only in this directory, and contrail::<component> may be linked in any other. It
  # cannot be promoted if a parent directory found it, nor need it be.
  get_target_property(imported ${dependency} IMPORTED)
  get_property(found_here DIRECTORY PROPERTY IMPORTED_TARGETS)
  if(imported AND dependency IN_LIST found_here)
    set_target_properties(${dependency} PROPERTIES IMPORTED_GLOBAL TRUE)
  endif()
  add_library(contrail::${component} INTERFACE IMPORTED GLOBAL)
  target_link_libraries(contrail::${component} INTERFACE contrail::contrail ${dependency})
endfunction()
