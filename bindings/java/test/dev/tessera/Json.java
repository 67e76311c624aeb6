// As much JSON as the conformance scenarios need: null, Boolean, Long, Double, String, List and Map, both ways.
package dev.tessera;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

final class Json {
  private final String text;
  private int at;

  private Json(String text) {
    this.text = text;
  }

  static Object parse(String text) {
    Json json = new Json(text);
    Object value = json.value();
    json.space();
    if (json.at != text.length()) {
      throw json.wrong("the end");
    }
    return value;
  }

  private IllegalArgumentException wrong(String expected) {
    return new IllegalArgumentException("at " + at + ": " + expected + " was expected");
  }

  private void space() {
    while (at < text.length() && Character.isWhitespace(text.charAt(at))) {
      ++at;
    }
  }

  private boolean take(char c) {
    space();
    if (at < text.length() && text.charAt(at) == c) {
      ++at;
      return true;
    }
    return false;
  }

  private void need(char c) {
    if (!take(c)) {
      throw wrong("'" + c + "'");
    }
  }

  private Object value() {
    if (take('{')) {
      Map<String, Object> map = new LinkedHashMap<>();
      while (!take('}')) {
        if (!map.isEmpty()) {
          need(',');
        }
        need('"');
        String key = string();
        need(':');
        map.put(key, value());
      }
      return map;
    }
    if (take('[')) {
      List<Object> list = new ArrayList<>();
      while (!take(']')) {
        if (!list.isEmpty()) {
          need(',');
        }
        list.add(value());
      }
      return list;
    }
    if (take('"')) {
      return string();
    }
    int start = at;
    while (at < text.length() && "+-.eE".indexOf(text.charAt(at)) >= 0
        || at < text.length() && Character.isLetterOrDigit(text.charAt(at))) {
      ++at;
    }
    String word = text.substring(start, at);
    switch (word) {
      case "null":
        return null;
      case "true":
        return true;
      case "false":
        return false;
      default:
        if (word.matches("-?[0-9]+")) {
          return Long.valueOf(word);
        }
        return Double.valueOf(word);
    }
  }

  private String string() {
    StringBuilder result = new StringBuilder();
    while (text.charAt(at) != '"') {
      char c = text.charAt(at++);
      if (c != '\\') {
        result.append(c);
        continue;
      }
      char escaped = text.charAt(at++);
      int known = "bfnrt".indexOf(escaped);
      if (escaped == 'u') {
        result.append((char) Integer.parseInt(text.substring(at, at + 4), 16));
        at += 4;
      } else {
        result.append(known >= 0 ? "\b\f\n\r\t".charAt(known) : escaped);
      }
    }
    ++at;
    return result.toString();
  }

  static String write(Object value) {
    if (value instanceof Map<?, ?> map) {
      List<String> parts = new ArrayList<>();
      map.forEach((key, part) -> parts.add(write(key) + ":" + write(part)));
      return "{" + String.join(",", parts) + "}";
    }
    if (value instanceof List<?> list) {
      return "[" + String.join(",", list.stream().map(Json::write).toList()) + "]";
    }
    if (value instanceof String string) {
      StringBuilder result = new StringBuilder("\"");
      for (char c : string.toCharArray()) {
        if (c == '"' || c == '\\') {
          result.append('\\').append(c);
        } else if (c < ' ') {
          result.append(String.format("\\u%04x", (int) c));
        } else {
          result.append(c);
        }
      }
      return result.append('"').toString();
    }
    return String.valueOf(value);
  }
}
