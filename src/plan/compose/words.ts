/** A command line as one string → its words, by the shell's quoting rules; nothing is expanded. */

import { type Path, Refusal } from "./refusal.ts";

export function splitWords(text: string, path: Path): readonly string[] {
  const words: string[] = [];
  let word: string | undefined;
  let quote: string | undefined;
  for (let at = 0; at < text.length; at += 1) {
    const letter = text.charAt(at);
    if (quote === undefined && /\s/.test(letter)) {
      if (word !== undefined) words.push(word);
      word = undefined;
    } else if (quote === undefined && (letter === '"' || letter === "'")) {
      quote = letter;
      word ??= "";
    } else if (letter === quote) {
      quote = undefined;
    } else if (letter === "\\" && quote !== "'") {
      at += 1;
      if (at >= text.length) throw new Refusal("EOF found after escape character", path);
      const escaped = text.charAt(at);
      // Between double quotes a backslash is only special before these.
      const kept = quote === '"' && !'"\\$`\n'.includes(escaped) ? `\\${escaped}` : escaped;
      word = (word ?? "") + kept;
    } else word = (word ?? "") + letter;
  }
  if (quote !== undefined) throw new Refusal("EOF found when expecting closing quote", path);
  if (word !== undefined) words.push(word);
  return words;
}
