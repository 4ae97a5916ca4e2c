import { closeSync, openSync, readSync } from 'node:fs';
import * as v from 'valibot';
import { type Document, isMap, isNode, isScalar, Lexer, type Node, Parser, parseDocument, visit } from 'yaml';
import { parseMac } from '../../protocols/octets/index.ts';
import { parseManager } from './profile.ts';

/** The configuration cannot be used: `problems` are one line each, FILE:LINE:COLUMN: what. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  /** `message` is the first of them, here without a hint at the options of evbd: others quote it too. */
  constructor(problems: readonly string[], message = problems[0]) {
    super(message);
    this.problems = problems;
  }
}

const integer = (least: number, most: number) => {
  const expected = `expected a whole number from ${least} to ${most}`;
  return v.pipe(
    v.number(expected),
    v.integer(expected),
    v.minValue(least, expected),
    v.maxValue(most, expected),
  );
};

const oneOf = <const T extends readonly string[]>(words: T) =>
  v.picklist(words, `expected one of ${words.join(', ')}`);

const flag = v.boolean('expected true or false');

/** YAML reads a bare `on` or `off` as a word, `true` and `false` as what they are: all four are taken. */
const onOff = v.pipe(
  v.union([v.picklist(['on', 'off']), v.boolean()], 'expected on or off'),
  v.transform((value) => value === true || value === 'on'),
);

/** Keys of a mapping that is left out have their defaults too. */
const section = <T extends v.ObjectEntries>(entries: T) =>
  v.optional(v.strictObject(entries, 'expected a mapping'), {} as never);

const ecp = section({ 'max-retries': v.optional(integer(0, 7), 3), rte: v.optional(integer(0, 31), 14) });
const vdp = section({ rwd: v.optional(integer(0, 31), 20), rka: v.optional(integer(0, 31), 20) });
const lldp = section({
  'tx-interval': v.optional(integer(1, 3600), 30),
  'tx-hold': v.optional(integer(2, 10), 4),
});

const protocol = v.optional(oneOf(['auto', 'ratified', 'draft']), 'auto');

/** The uncertain points of the standard, for peers that chose otherwise. */
const interop = {
  'manager-octet': v.optional(oneOf(['first', 'last']), 'first'),
  'ecp-source': v.optional(oneOf(['peer', 'any']), 'peer'),
  'filter-count': v.optional(oneOf(['present', 'absent']), 'present'),
  'lldp-scope': v.optional(oneOf(['customer-bridge', 'nearest-bridge']), 'customer-bridge'),
  'draft-renumber': v.optional(flag, false),
};
const uplinkInterop = section({ ...interop, 'evb-first': v.optional(flag, true) });
const portInterop = section({
  ...interop,
  'vsi-key': v.optional(oneOf(['vsiid', 'lldpad']), 'vsiid'),
  'deassoc-ack': v.optional(flag, false),
});

const uplink = section({
  protocol,
  peer: v.optional(oneOf(['auto', 'standard', 'lldpad']), 'auto'),
  evb: v.optional(flag, true),
  lldp,
  'reflective-relay': v.optional(oneOf(['request', 'off', 'assume']), 'request'),
  'group-ids': v.optional(flag, false),
  ecp,
  vdp,
  slaves: v.optional(oneOf(['manual', 'auto']), 'manual'),
  'when-relay-refused': v.optional(oneOf(['keep', 'bridge']), 'keep'),
  libvirt: v.optional(
    v.pipe(
      flag,
      v.check((on) => !on, 'this version of evbd cannot do that yet'),
    ),
    false,
  ),
  interop: uplinkInterop,
});

const port = section({
  protocol,
  evb: v.optional(flag, true),
  lldp,
  'reflective-relay': v.optional(oneOf(['allow', 'deny', 'always']), 'allow'),
  'group-ids': v.optional(flag, true),
  ecp,
  vdp,
  admission: v.optional(oneOf(['open', 'profiles']), 'open'),
  enforce: v.optional(onOff, false),
  leak: v.optional(oneOf(['stop', 'report']), 'stop'),
  isolated: v.optional(oneOf(['report', 'clear']), 'report'),
  interop: portInterop,
});

const manager = v.pipe(
  v.union([v.number(), v.string()], 'expected a manager id'),
  v.check(
    (value) => parseManager(value) !== undefined,
    'expected a number from 0 to 255, or in quotes an IPv6 address, a UUID or 32 hex digits',
  ),
);

const profile = v.strictObject(
  {
    manager,
    type: integer(0, 0xffffff),
    'type-version': integer(0, 255),
    vlan: v.optional(integer(0, 4094)),
  },
  'expected a mapping',
);

const macPattern = v.pipe(
  v.string('expected a MAC address in quotes, * at its end for any'),
  v.check((text) => {
    const open = text.endsWith('*') ? text.slice(0, -1) : undefined;
    return parseMac(open === undefined ? text : open + '00:00:00:00:00:00'.slice(open.length)) !== undefined;
  }, 'expected a MAC address in quotes, * at its end for any'),
);

const rule = v.strictObject(
  {
    match: v.strictObject(
      { uplink: v.optional(v.string('expected the name of an uplink')), mac: v.optional(macPattern) },
      'expected a mapping',
    ),
    profile: v.string('expected the name of a profile'),
  },
  'expected a mapping with match and profile',
);

const named = <T extends v.GenericSchema>(name: v.GenericSchema<string, string>, schema: T) =>
  v.optional(v.record(name, schema, 'expected a mapping of names'), {});

/** As the kernel's dev_valid_name(). */
const interfaceName = v.pipe(
  v.string(),
  v.check(
    (name) => /^[^/:\s]+$/.test(name) && !/^\.\.?$/.test(name) && Buffer.byteLength(name) <= 15,
    'an interface name has 1 to 15 octets, no "/", no ":", no white space, and is not "." or ".."',
  ),
);
const profileName = v.pipe(
  v.string(),
  v.check((name) => name.length >= 1 && name.length <= 64, 'a profile name has 1 to 64 characters'),
);

const schema = v.strictObject(
  {
    'on-exit': v.optional(oneOf(['keep', 'release']), 'keep'),
    limits: section({
      'vsis-per-link': v.optional(integer(1, 65535), 4096),
      'frames-per-second': v.optional(integer(1, 1_000_000), 2000),
      'slaves-per-uplink': v.optional(integer(1, 65535), 2048),
      'slaves-per-namespace': v.optional(integer(1, 65535), 64),
    }),
    uplinks: named(interfaceName, uplink),
    ports: named(interfaceName, port),
    profiles: named(profileName, profile),
    rules: v.optional(v.array(rule, 'expected a list'), []),
  },
  'expected a mapping',
);

export type Config = v.InferOutput<typeof schema>;
export type UplinkConfig = Config['uplinks'][string];
export type PortConfig = Config['ports'][string];
export type ProfileConfig = Config['profiles'][string];

/** Octets; a longer file is something else, and reading it would take long. */
const FILE_MAX = 1024 * 1024;
/** Entries of the parser's stack, one or two a level: a configuration has less than twenty, recursion bears thousands. */
const STACK_MAX = 150;
/** Lines; who has more wrong has the wrong file. */
const PROBLEMS_MAX = 50;

/** Reads and validates a configuration file; every key has its default afterwards. Throws ConfigError. */
export function loadConfig(file: string): Config {
  const name = 'name a configuration with --config FILE';
  let octets: Uint8Array;
  try {
    octets = readUpTo(file, FILE_MAX + 1);
  } catch (error) {
    const code = String((error as NodeJS.ErrnoException).code);
    const reason = `${file}: ${FILE_ERRORS[code] ?? `cannot be read (${code})`}`;
    throw new ConfigError([`${reason}; ${name}`], reason);
  }
  if (octets.length > FILE_MAX) {
    const reason = `${file}: more than 1 MiB, which is no configuration`;
    throw new ConfigError([`${reason}; name one with --config FILE`], reason);
  }
  return parseConfig(decodeText(octets, file), file);
}

const FILE_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file',
  EACCES: 'no permission to read it',
  EISDIR: 'is a directory, not a file',
  ENOTDIR: 'a part of the path is no directory',
};

/** The first octets of a file, which may be a pipe or a device without an end. */
function readUpTo(file: string, length: number): Uint8Array {
  const fd = openSync(file, 'r');
  try {
    const octets = Buffer.alloc(length);
    let filled = 0;
    while (filled < length) {
      const count = readSync(fd, octets, filled, length - filled, null);
      if (count === 0) break;
      filled += count;
    }
    return octets.subarray(0, filled);
  } finally {
    closeSync(fd);
  }
}

function decodeText(octets: Uint8Array, file: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(octets);
  } catch {
    // What the lenient decoder puts in place of the first wrong octet tells where that is.
    const lenient = new TextDecoder().decode(octets);
    const lines = lenient.slice(0, lenient.indexOf('\ufffd')).split('\n');
    throw new ConfigError([`${file}:${lines.length}:${lines.at(-1)!.length + 1}: no UTF-8 text`]);
  }
}

interface Problem {
  offset: number;
  text: string;
}

export function parseConfig(text: string, file: string): Config {
  const refuse = (problems: readonly Problem[]): never => {
    const sorted = [...problems].sort((a, b) => a.offset - b.offset);
    throw new ConfigError(
      sorted.map((problem) => `${file}:${position(text, problem.offset)}: ${problem.text}`),
    );
  };
  const deep = tooDeepAt(text);
  if (deep !== undefined) refuse([{ offset: deep, text: 'nested too deeply for a configuration' }]);
  const document = parseDocument(text, { prettyErrors: false, logLevel: 'error' });
  if (document.errors.length > 0) {
    refuse(
      cut(document.errors, ({ pos, code, message }) => ({ offset: pos[0], text: yamlText(code, message) })),
    );
  }
  const value = plainValue(document);
  if (value instanceof Error) return refuse([{ offset: aliasOffset(document, value), text: value.message }]);

  const reserved = reservedNames(value).map((path) => ({
    offset: offsetOf(document.contents, path, true),
    text: `${pathText(path)}: this word cannot be a name here`,
  }));
  const result = v.safeParse(schema, value, { abortPipeEarly: true });
  if (!result.success) {
    const unknown = cut(unknownKeys(value), (path) => ({
      offset: offsetOf(document.contents, path, true),
      text: `${pathText(path)}: unknown key${hint(path)}`,
    }));
    const wrong = cut(
      result.issues.filter((issue) => !isUnknownKey(issue)),
      (issue) => {
        const path = (issue.path ?? []).map(({ key }) => key as string | number);
        const atKey = issue.path?.at(-1)?.origin === 'key';
        return { offset: offsetOf(document.contents, path, atKey), text: problemText(issue, path) };
      },
    );
    return refuse([...reserved, ...unknown, ...wrong]);
  }
  const crossed = contradictions(result.output).map(({ path, text }) => ({
    offset: offsetOf(document.contents, path),
    text: `${pathText(path)}: ${text}`,
  }));
  const problems = [...reserved, ...crossed];
  return problems.length === 0 ? result.output : refuse(cut(problems, (problem) => problem));
}

/** At most so many, with one that counts the others in place of the next. */
function cut<T>(found: readonly T[], problemOf: (each: T) => Problem): Problem[] {
  const shown = found.slice(0, PROBLEMS_MAX).map(problemOf);
  const next = found[PROBLEMS_MAX];
  if (next === undefined) return shown;
  const more = `and ${found.length - PROBLEMS_MAX} more problems from here on`;
  return [...shown, { offset: problemOf(next).offset, text: more }];
}

/** Line and column, from 1. */
function position(text: string, offset: number): string {
  const before = text.slice(0, offset).split('\n');
  return `${before.length}:${before.at(-1)!.length + 1}`;
}

/**
 * Where the nesting goes too deep. What turns tokens into a document is recursive, and at the end of its stack not even an
 * exception is sure: the process aborts when a regular expression is to be compiled there.
 */
function tooDeepAt(text: string): number | undefined {
  const parser = new Parser();
  for (const source of new Lexer().lex(text)) {
    for (const _ of parser.next(source));
    if (parser.stack.length > STACK_MAX) return parser.offset - source.length;
  }
  return undefined;
}

function yamlText(code: string, message: string): string {
  if (code === 'MULTIPLE_DOCS') return 'only one YAML document may be in the file';
  return visible(message.split('\n')[0]!);
}

/** The document as plain values, or why that cannot be had. An empty section (`eth1:` with nothing behind it) is absent. */
function plainValue(document: Document.Parsed): unknown {
  try {
    return withoutNull(document.toJS({ maxAliasCount: 100 }) ?? {});
  } catch (error) {
    const { message } = error as Error;
    return /alias count/.test(message)
      ? new Error('the aliases (*NAME) stand for more than a configuration may hold')
      : new Error(visible(message.split('\n')[0]!));
  }
}

/** Where the alias is that an error names; the start where it names none. */
function aliasOffset(document: Document.Parsed, { message }: Error): number {
  let offset = 0;
  visit(document, {
    Alias(_, { source, range }) {
      if (!message.endsWith(`: ${source}`)) return undefined;
      offset = range?.[0] ?? 0;
      return visit.BREAK;
    },
  });
  return offset;
}

/** Names that a JavaScript object cannot have safely; valibot leaves them out without a word. */
function reservedNames(value: unknown): string[][] {
  return ['uplinks', 'ports', 'profiles'].flatMap((section) => {
    const names = (value as Record<string, unknown> | null)?.[section];
    if (typeof names !== 'object' || names === null) return [];
    return ['__proto__', 'prototype', 'constructor']
      .filter((name) => Object.hasOwn(names, name))
      .map((name) => [section, name]);
  });
}

/** What is wrong although each value by itself is not. */
function contradictions({ uplinks, ports, profiles, rules }: Config) {
  const found: { path: (string | number)[]; text: string }[] = [];
  const known = (names: object) => Object.keys(names).map(keyText).join(', ') || 'none';
  for (const name of Object.keys(uplinks)) {
    if (!Object.hasOwn(ports, name)) continue;
    found.push({ path: ['ports', name], text: 'the interface is an uplink too; it can have one role only' });
  }
  for (const [i, { profile, match }] of rules.entries()) {
    if (!Object.hasOwn(profiles, profile)) {
      const text = `there is no profile ${keyText(profile)} (profiles: ${known(profiles)})`;
      found.push({ path: ['rules', i, 'profile'], text });
    }
    if (match.uplink !== undefined && !Object.hasOwn(uplinks, match.uplink)) {
      const text = `there is no uplink ${keyText(match.uplink)} (uplinks: ${known(uplinks)})`;
      found.push({ path: ['rules', i, 'match', 'uplink'], text });
    }
  }
  return found;
}

function isUnknownKey(issue: v.BaseIssue<unknown>): boolean {
  return issue.type === 'strict_object' && issue.expected === 'never';
}

function problemText(issue: v.BaseIssue<unknown>, path: readonly (string | number)[]): string {
  const key = pathText(path);
  if (issue.path?.at(-1)?.origin === 'key' && issue.received !== 'undefined')
    return `${key}: ${issue.message}`;
  if (issue.received === 'undefined') return `${key}: missing`;
  return `${key === '' ? 'the file' : key}: ${issue.message}, found ${foundText(issue.input)}`;
}

/** Which key may have been meant, or which there are. */
function hint(path: readonly (string | number)[]): string {
  const keys = knownKeys(path.slice(0, -1));
  const written = String(path.at(-1));
  const bare = (key: string) => key.toLowerCase().replace(/[-_]/g, '');
  const distances = keys.map((key) => (bare(key) === bare(written) ? 0 : distance(key, written)));
  const least = Math.min(...distances);
  // Two changes make almost any short word out of any other.
  if (least <= Math.min(2, written.length / 3)) return `; did you mean ${keys[distances.indexOf(least)]}?`;
  return keys.length <= FEW_KEYS ? `; there are ${keys.join(', ')}` : '';
}

const FEW_KEYS = 8;

/** What the walks below need to know of valibot's schemas. */
interface Shape {
  wrapped?: Shape;
  entries?: Record<string, Shape>;
  value?: Shape;
  item?: Shape;
}

const bare = (shape: Shape | undefined): Shape | undefined => (shape?.wrapped ? bare(shape.wrapped) : shape);

/** The keys of the mapping at a path, as the schema has them. */
function knownKeys(path: readonly (string | number)[]): string[] {
  let shape = bare(schema as unknown as Shape);
  for (const key of path) shape = bare(shape?.entries?.[key] ?? shape?.value ?? shape?.item);
  return Object.keys(shape?.entries ?? {});
}

/** All of them; valibot tells the first of each mapping only. */
function unknownKeys(
  value: unknown,
  shape = schema as unknown as Shape | undefined,
  path: (string | number)[] = [],
): (string | number)[][] {
  const { entries, value: each, item } = bare(shape) ?? {};
  if (typeof value !== 'object' || value === null) return [];
  if (Array.isArray(value)) return value.flatMap((inner, i) => unknownKeys(inner, item, [...path, i]));
  return Object.entries(value).flatMap(([key, inner]) => {
    if (entries !== undefined && !Object.hasOwn(entries, key)) return [[...path, key]];
    return unknownKeys(inner, entries?.[key] ?? each, [...path, key]);
  });
}

/** Letters to be put in, taken out or replaced (Levenshtein), of words short enough to be meant for a key. */
function distance(a: string, b: string): number {
  if (Math.abs(a.length - b.length) > 2) return Number.POSITIVE_INFINITY;
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next.push(Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + Number(a[i - 1] !== b[j - 1])));
    }
    row = next;
  }
  return row[b.length]!;
}

/** A list where none may be; valibot would take it for a mapping of 0, 1, 2. */
const LIST = Symbol('a list');

function foundText(value: unknown): string {
  if (typeof value === 'string') return quoted(value);
  if (value === LIST) return 'a list';
  if (typeof value === 'object') return value instanceof Uint8Array ? 'binary data' : 'a mapping';
  return String(value);
}

function pathText(path: readonly (string | number)[]): string {
  return path.map((key) => keyText(String(key))).join('.');
}

/** As it is where it can be mistaken for nothing else. */
function keyText(key: string): string {
  return /^[\w*@-][\w.*@-]{0,39}$/.test(key) ? key : quoted(key);
}

/** Characters of a value that are shown. */
const SHOWN = 40;

function quoted(text: string): string {
  return visible(JSON.stringify(text.length > SHOWN ? `${text.slice(0, SHOWN)}…` : text));
}

/** With escapes for what a terminal would obey and JSON leaves as it is. */
function visible(text: string): string {
  return text.replace(
    /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}

/** Offset of the deepest node on the path: the value, or the key where the value is no scalar or `atKey` asks for it. */
function offsetOf(contents: Node | null, path: readonly (string | number)[], atKey = false): number {
  let node: unknown = contents;
  let offset = contents?.range?.[0] ?? 0;
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key));
      if (pair === undefined) break;
      const keyNode = pair.key as Node;
      node = pair.value;
      const scalar = isScalar(node) && node.value !== null && !atKey;
      offset = (scalar ? (node as Node).range?.[0] : keyNode.range?.[0]) ?? offset;
    } else {
      const item = (node as { items?: unknown[] } | undefined)?.items?.[key as number];
      if (!isNode(item)) break;
      node = item;
      offset = item.range?.[0] ?? offset;
    }
  }
  return offset;
}

function withoutNull(value: unknown, above = 0, listMayBe = false): unknown {
  // A mapping that contains itself has no end.
  if (above > STACK_MAX) throw new Error('an alias stands for something around itself');
  if (Array.isArray(value)) return listMayBe ? value.map((inner) => withoutNull(inner, above + 1)) : LIST;
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return value ?? undefined;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [
      key,
      inner === null ? undefined : withoutNull(inner, above + 1, above === 0 && key === 'rules'),
    ]),
  );
}
