#include "tests/goldens/smollm2/goldens.h"

#include <simdjson.h>

#include <cmath>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace tessera::goldens {
namespace {

template <typename Number>
std::vector<Number> Numbers(simdjson::dom::element list) {
  std::vector<Number> numbers;
  for (simdjson::dom::element number : list.get_array()) {
    if constexpr (std::is_integral_v<Number>) {
      numbers.push_back(static_cast<Number>(number.get_int64().value()));
    } else {
      numbers.push_back(number.get_double().value());
    }
  }
  return numbers;
}

template <typename Number>
std::vector<std::vector<Number>> Rows(simdjson::dom::element list) {
  std::vector<std::vector<Number>> rows;
  for (simdjson::dom::element row : list.get_array()) rows.push_back(Numbers<Number>(row));
  return rows;
}

std::string Text(simdjson::dom::element element) {
  const auto text = element.get_string().value();
  return std::string(text.data(), text.size());
}

// A file of little-endian numbers, read from its start to its end.
template <typename Number>
class NumberFile {
 public:
  explicit NumberFile(const std::string& path) : path_(path), stream_(path, std::ios::binary) {}
  std::vector<Number> Next(size_t count) {
    std::vector<Number> numbers(count);
    if (!stream_.read(reinterpret_cast<char*>(numbers.data()),
                      static_cast<std::streamsize>(count * sizeof(Number)))) {
      throw std::runtime_error(path_ + " is too short");
    }
    return numbers;
  }

 private:
  std::string path_;
  std::ifstream stream_;
};

}  // namespace

Goldens ReadGoldens(const std::string& folder) {
  simdjson::dom::parser parser;
  const simdjson::dom::element document = parser.load(folder + "/goldens.json").value();
  NumberFile<float> sampled(folder + "/sampled_logits.f32");
  NumberFile<uint16_t> full(folder + "/log_probs.u16");
  const auto vocabulary = static_cast<size_t>(document["vocabulary"].get_int64().value());

  Goldens goldens;
  goldens.sampled_ids = Numbers<int32_t>(document["sampled_ids"].value());
  for (simdjson::dom::element entry : document["prompts"].get_array()) {
    Prompt prompt;
    prompt.name = Text(entry["name"].value());
    prompt.text = Text(entry["text"].value());
    prompt.ids = Numbers<int32_t>(entry["ids"].value());
    prompt.greedy_ids = Numbers<int32_t>(entry["greedy_ids"].value());
    prompt.greedy_text = Text(entry["greedy_text"].value());
    prompt.margin = Numbers<double>(entry["margin"].value());
    prompt.log_sum_exp = Numbers<double>(entry["log_sum_exp"].value());
    prompt.top_ids = Rows<int32_t>(entry["top_ids"].value());
    prompt.top_logits = Rows<double>(entry["top_logits"].value());
    for (int64_t step : Numbers<int64_t>(entry["sampled_steps"].value())) {
      prompt.sampled.push_back({step, sampled.Next(goldens.sampled_ids.size())});
    }
    const std::vector<double> low = Numbers<double>(entry["full_low"].value());
    const std::vector<double> high = Numbers<double>(entry["full_high"].value());
    for (int64_t step : Numbers<int64_t>(entry["full_steps"].value())) {
      const size_t i = prompt.full.size();
      FullStep known{step, {}};
      for (uint16_t code : full.Next(vocabulary)) {
        known.log_probs.push_back(low.at(i) + code * (high.at(i) - low.at(i)) / 65535);
      }
      // The codes are rounded, each by itself; without this their sum would be off 1 by about as much as a
      // good run's divergence.
      double sum = 0;
      for (double log_prob : known.log_probs) sum += std::exp(log_prob);
      for (double& log_prob : known.log_probs) log_prob -= std::log(sum);
      prompt.full.push_back(std::move(known));
    }
    goldens.prompts.push_back(std::move(prompt));
  }
  return goldens;
}

}  // namespace tessera::goldens
