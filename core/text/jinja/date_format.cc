#include "core/text/jinja/date_format.h"

#include <cstdint>
#include <utility>

#include "absl/strings/str_cat.h"

namespace tessera::jinja {
namespace {

constexpr absl::string_view kDays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};
constexpr absl::string_view kMonths[] = {"January",   "February", "March",    "April",
                                         "May",       "June",     "July",     "August",
                                         "September", "October",  "November", "December"};

// At least `width` digits; flag '-': as few as it has, '_': blanks before it, '0': zeros.
std::string Number(int value, int width, char usual_fill, char flag) {
  std::string digits = absl::StrCat(value);
  if (flag == '-') return digits;
  const char fill = flag == '_' ? ' ' : flag == '0' ? '0' : usual_fill;
  while (static_cast<int>(digits.size()) < width) digits.insert(digits.begin(), fill);
  return digits;
}

// ISO 8601: weeks begin on Monday; week 1 holds the year's first Thursday.
std::pair<int, int> IsoYearAndWeek(const LocalTime& t) {
  const int monday_based = (t.week_day + 6) % 7;
  const int week = (t.year_day - monday_based + 10) / 7;  // year_day from 0, so + 1 is in the 10
  const auto weeks_of = [](int year) {
    const auto last_day = [](int y) {
      return (y + y / 4 - y / 100 + y / 400) % 7;
    };  // week day of 31 December
    return last_day(year) == 4 || last_day(year - 1) == 3 ? 53 : 52;
  };
  if (week < 1) return {t.year - 1, weeks_of(t.year - 1)};
  if (week > weeks_of(t.year)) return {t.year + 1, 1};
  return {t.year, week};
}

// False: the field is not known.
bool AppendField(char field, char flag, const LocalTime& t, std::string* out) {
  const int hour12 = t.hour % 12 == 0 ? 12 : t.hour % 12;
  const auto number = [&](int value, int width, char fill = '0') {
    *out += Number(value, width, fill, flag);
  };
  const auto text = [&](absl::string_view words) { out->append(words.data(), words.size()); };
  switch (field) {
    case 'Y':
      number(t.year, 1);
      return true;
    case 'y':
      number(t.year % 100, 2);
      return true;
    case 'C':
      number(t.year / 100, 2);
      return true;
    case 'm':
      number(t.month, 2);
      return true;
    case 'd':
      number(t.day, 2);
      return true;
    case 'e':
      number(t.day, 2, ' ');
      return true;
    case 'j':
      number(t.year_day + 1, 3);
      return true;
    case 'H':
      number(t.hour, 2);
      return true;
    case 'k':
      number(t.hour, 2, ' ');
      return true;
    case 'I':
      number(hour12, 2);
      return true;
    case 'l':
      number(hour12, 2, ' ');
      return true;
    case 'M':
      number(t.minute, 2);
      return true;
    case 'S':
      number(t.second, 2);
      return true;
    case 'f':
      out->append("000000");
      return true;
    case 'u':
      number(t.week_day == 0 ? 7 : t.week_day, 1);
      return true;
    case 'w':
      number(t.week_day, 1);
      return true;
    case 'U':
      number((t.year_day + 7 - t.week_day) / 7, 2);
      return true;
    case 'W':
      number((t.year_day + 7 - (t.week_day + 6) % 7) / 7, 2);
      return true;
    case 'V':
      number(IsoYearAndWeek(t).second, 2);
      return true;
    case 'G':
      number(IsoYearAndWeek(t).first, 1);
      return true;
    case 'g':
      number(IsoYearAndWeek(t).first % 100, 2);
      return true;
    case 'A':
      text(kDays[t.week_day]);
      return true;
    case 'a':
      text(kDays[t.week_day].substr(0, 3));
      return true;
    case 'B':
      text(kMonths[t.month - 1]);
      return true;
    case 'b':
    case 'h':
      text(kMonths[t.month - 1].substr(0, 3));
      return true;
    case 'p':
      text(t.hour < 12 ? "AM" : "PM");
      return true;
    case 'P':
      text(t.hour < 12 ? "am" : "pm");
      return true;
    case 'F':
      *out += FormatDate("%Y-%m-%d", t);
      return true;
    case 'T':
    case 'X':
      *out += FormatDate("%H:%M:%S", t);
      return true;
    case 'R':
      *out += FormatDate("%H:%M", t);
      return true;
    case 'D':
    case 'x':
      *out += FormatDate("%m/%d/%y", t);
      return true;
    case 'c':
      *out += FormatDate("%a %b %e %H:%M:%S %Y", t);
      return true;
    case 'r':
      *out += FormatDate("%I:%M:%S %p", t);
      return true;
    case 'z':
    case 'Z':
      return true;  // Python's date of now has no zone
    case 'n':
      out->push_back('\n');
      return true;
    case 't':
      out->push_back('\t');
      return true;
    case '%':
      out->push_back('%');
      return true;
    default:
      return false;
  }
}

}  // namespace

std::string FormatDate(absl::string_view format, const LocalTime& time) {
  std::string out;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      out.push_back(format[i]);
      continue;
    }
    size_t field = i + 1;
    const bool flagged = format[field] == '-' || format[field] == '_' || format[field] == '0';
    if (flagged && field + 1 < format.size()) ++field;
    if (AppendField(format[field], flagged ? format[i + 1] : '\0', time, &out)) {
      i = field;
    } else {
      out.push_back('%');
    }
  }
  return out;
}

}  // namespace tessera::jinja
