// A date and time as strftime of the C locale writes it. Asks no clock and no locale of the process.
#ifndef TESSERA_CORE_TEXT_JINJA_DATE_FORMAT_H_
#define TESSERA_CORE_TEXT_JINJA_DATE_FORMAT_H_

#include <string>

#include "absl/strings/string_view.h"
#include "core/env/local_time.h"

namespace tessera::jinja {

// Fields that are not known stay as they are written.
std::string FormatDate(absl::string_view format, const LocalTime& time);

}  // namespace tessera::jinja

#endif  // TESSERA_CORE_TEXT_JINJA_DATE_FORMAT_H_
