# The library registers no destructor for the end of the process or of a thread: hosts' threads may still be
# inside then. The compiler emits a call of __cxa_atexit for every static object that has a destructor. One kind is
# let through: <iostream>, which abseil's headers include, puts the standard streams' reference count
# (ios_base::Init) into each source; those come in pairs of a constructor call and a registration.
execute_process(COMMAND ${NM} -D --undefined-only ${LIBRARY} OUTPUT_VARIABLE symbols RESULT_VARIABLE result)
if(NOT result EQUAL 0 OR symbols STREQUAL "")
  message(FATAL_ERROR "could not list the symbols that ${LIBRARY} refers to")
endif()
foreach(call __cxa_thread_atexit __cxa_thread_atexit_impl atexit on_exit)
  if(symbols MATCHES "[ \n]${call}(@|\n)")
    message(FATAL_ERROR
      "${LIBRARY} refers to ${call}: some thread-local object has a destructor, or code asks for one")
  endif()
endforeach()
if(RELOCATABLE)
  # Others' objects are inside, which have destructors: none may reach libc (capi/src/no_exit_handlers.cc).
  execute_process(COMMAND ${NM} ${LIBRARY} OUTPUT_VARIABLE inside RESULT_VARIABLE result)
  if(NOT inside MATCHES " t __cxa_atexit\n" OR symbols MATCHES "[ \n]__cxa_atexit(@|\n)")
    message(FATAL_ERROR "${LIBRARY} registers destructors with libc")
  endif()
  return()
endif()

# `result` gets the number of calls and tail calls of a function of another library.
function(count_calls function result)
  execute_process(COMMAND ${OBJDUMP} -d --no-show-raw-insn ${LIBRARY} COMMAND grep -c "<${function}@plt>$"
    OUTPUT_VARIABLE count OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT count MATCHES "^[0-9]+$")
    message(FATAL_ERROR "could not read the code of ${LIBRARY}")
  endif()
  set(${result} ${count} PARENT_SCOPE)
endfunction()

count_calls(__cxa_atexit registrations)
count_calls(_ZNSt8ios_base4InitC1Ev streams)
if(NOT registrations EQUAL streams)
  message(FATAL_ERROR
    "${LIBRARY} registers ${registrations} destructors, ${streams} of them the standard streams': some static object has a destructor")
endif()
