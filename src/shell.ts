/** Words of the commands that are shown to people, who paste them. */

/** A word of a shell command: names of interfaces may hold anything but a slash and white space. */
export function quoted(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) && !word.startsWith('-') ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
