# docs/settings.md is what the library's schema says. To renew it: build/release/capi/tessera_settings_page > docs/settings.md
execute_process(COMMAND ${TOOL} OUTPUT_VARIABLE made RESULT_VARIABLE failed)
file(READ ${PAGE} kept)
if(failed OR NOT made STREQUAL kept)
  message(FATAL_ERROR "${PAGE} differs from the schema; renew it with ${TOOL} > ${PAGE}")
endif()
