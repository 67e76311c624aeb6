#include "core/text/chat/json_values.h"

#include <simdjson.h>

#include <algorithm>

#include "core/base/status.h"
#include "core/text/jinja/operations.h"

namespace tessera {
namespace {

using jinja::Kind;
using jinja::Run;
using jinja::Value;

// The parser's own buffers are at most so many times the text.
constexpr size_t kParserBytesPerByte = 16;

// simdjson makes the list of its implementations when it is first used, in functions that may not throw:
// without memory at that moment the process would end. So its first use is when the library is loaded.
[[gnu::constructor]] void UseParserOnce() {
  simdjson::dom::parser parser;
  [[maybe_unused]] const simdjson::error_code error = parser.allocate(1, 1);  // later uses say what fails
}

class Converter {
 public:
  explicit Converter(Run& run) : run_(run) {}

  // Depth is bounded: the parser refused what is deeper.
  Value Convert(simdjson::dom::element element) {
    switch (element.type()) {
      case simdjson::dom::element_type::ARRAY:
        return ConvertArray(element);
      case simdjson::dom::element_type::OBJECT:
        return ConvertObject(element);
      case simdjson::dom::element_type::STRING: {
        std::string_view text;
        return element.get(text) == simdjson::SUCCESS ? ConvertText(text) : Broken();
      }
      case simdjson::dom::element_type::INT64: {
        int64_t integer = 0;
        return element.get(integer) == simdjson::SUCCESS ? Value::Int(integer) : Broken();
      }
      case simdjson::dom::element_type::UINT64:
        large_integer_ = true;
        return Broken();
      case simdjson::dom::element_type::DOUBLE: {
        double number = 0;
        return element.get(number) == simdjson::SUCCESS ? Value::Float(number) : Broken();
      }
      case simdjson::dom::element_type::BOOL: {
        bool boolean = false;
        return element.get(boolean) == simdjson::SUCCESS ? Value::Bool(boolean) : Broken();
      }
      case simdjson::dom::element_type::NULL_VALUE:
        return Value::None();
    }
    return Broken();
  }
  bool large_integer() const { return large_integer_; }

 private:
  Value Broken() { return run_.FailType("the JSON cannot be read"); }

  Value ConvertText(std::string_view text) {
    char* copy = run_.arena().Make<char>(text.size());
    if (copy == nullptr) return run_.FailMemory();
    std::copy(text.begin(), text.end(), copy);
    jinja::Text made;
    made.data = copy;
    made.size = text.size();
    made.from_host = true;
    return run_.MakeText(made);
  }

  Value ConvertArray(simdjson::dom::element element) {
    simdjson::dom::array array;
    if (element.get(array) != simdjson::SUCCESS) return Broken();
    size_t size = 0;  // counted by hand: the parser's own count saturates
    for ([[maybe_unused]] const simdjson::dom::element item : array) ++size;
    Value* items = nullptr;
    const Value list = run_.MakeList(Kind::kList, size, &items);
    if (list.failed()) return list;
    for (const simdjson::dom::element item : array) {
      *items = Convert(item);
      if ((items++)->failed()) return Value::Failed();
    }
    return list;
  }

  Value ConvertObject(simdjson::dom::element element) {
    simdjson::dom::object object;
    if (element.get(object) != simdjson::SUCCESS) return Broken();
    const Value dict = run_.MakeDict(0);
    if (dict.failed()) return dict;
    for (const simdjson::dom::key_value_pair field : object) {
      const Value key = ConvertText(field.key);
      const Value value = key.failed() ? key : Convert(field.value);
      if (value.failed() || !jinja::Put(run_, dict.dict, key, value)) return Value::Failed();
    }
    return dict;
  }

  Run& run_;
  bool large_integer_ = false;
};

}  // namespace

absl::StatusOr<Value> JsonToValue(Run& run, absl::string_view json, absl::string_view place) {
  if (json.empty()) return InvalidArgument(place, "it is empty; JSON is expected");
  if (json.size() > run.arena().most_bytes() / kParserBytesPerByte) {
    return LimitExceeded(place, absl::StrCat("JSON of ", json.size(), " bytes takes more than the ",
                                             run.arena().most_bytes(), " of chat.max_memory_bytes"));
  }
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::error_code error = parser.allocate(json.size(), kDeepestJson);
  if (error == simdjson::SUCCESS) error = parser.parse(json.data(), json.size()).get(root);
  if (error == simdjson::MEMALLOC) return OutOfMemory(place, json.size() * kParserBytesPerByte);
  if (error != simdjson::SUCCESS) {
    return InvalidArgument(place,
                           absl::StrCat("it is no JSON that can be read: ", simdjson::error_message(error)));
  }
  Converter converter(run);
  const Value value = converter.Convert(root);
  if (converter.large_integer())
    return InvalidArgument(place, "it holds an integer that 64 bits do not hold");
  if (value.failed()) return run.status();
  return value;
}

}  // namespace tessera
