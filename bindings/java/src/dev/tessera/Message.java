// One turn of a conversation.
package dev.tessera;

import java.util.List;
import java.util.Objects;

/**
 * One turn of a conversation.
 *
 * @param role "system", "user", "assistant" or what else the model's template knows
 * @param content what was said
 */
public record Message(String role, String content) {
  /** Neither may be null. */
  public Message {
    Objects.requireNonNull(role);
    Objects.requireNonNull(content);
  }

  /** What the program says of the conversation. */
  public static Message system(String content) {
    return new Message("system", content);
  }

  /** What the user said. */
  public static Message user(String content) {
    return new Message("user", content);
  }

  /** What the model said. */
  public static Message assistant(String content) {
    return new Message("assistant", content);
  }

  static String toJson(List<Message> messages) {
    StringBuilder json = new StringBuilder("[");
    for (Message message : messages) {
      json.append(json.length() > 1 ? "," : "").append("{\"role\":");
      quote(json, message.role);
      json.append(",\"content\":");
      quote(json, message.content);
      json.append('}');
    }
    return json.append(']').toString();
  }

  private static void quote(StringBuilder json, String text) {
    json.append('"');
    for (int i = 0; i < text.length(); ++i) {
      char c = text.charAt(i);
      if (c == '"' || c == '\\') {
        json.append('\\').append(c);
      } else if (c < ' ') {
        json.append(String.format("\\u%04x", (int) c));
      } else {
        json.append(c);
      }
    }
    json.append('"');
  }
}
