// Settings of chat templates.
package dev.tessera;

import java.time.Instant;

/** Settings of {@link Session#appendChat} and {@link Model#applyChatTemplate}. */
public final class ChatOptions extends Settings<ChatOptions> {
  /** End with the beginning of the model's answer. */
  public ChatOptions addGenerationPrompt(boolean add) {
    return set("chat.add_generation_prompt", add);
  }

  /** A Jinja2 template instead of the model's. */
  public ChatOptions template(String template) {
    return set("chat.template", template);
  }

  /** Which of the model's templates. */
  public ChatOptions templateName(String name) {
    return set("chat.template_name", name);
  }

  /** The tools that the model may call: a JSON array in the form that the template expects. */
  public ChatOptions tools(String json) {
    return set("chat.tools", json);
  }

  /** Further variables for the template: a JSON object. */
  public ChatOptions variables(String json) {
    return set("chat.variables", json);
  }

  /** The time that templates which write the date are told, as a local clock shows it. */
  public ChatOptions localTime(Instant time) {
    return set("chat.local_time", time.getEpochSecond());
  }

  /** Special tokens written in messages become those tokens. Not for what users typed. */
  public ChatOptions parseSpecial(boolean parse) {
    return set("chat.parse_special", parse);
  }
}
