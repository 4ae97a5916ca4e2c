import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { isMap, isNode, isScalar, LineCounter, type Node, parseDocument } from 'yaml';
import { parseMac } from '../../protocols/octets/index.ts';
import { parseManager } from './profile.ts';

/** The configuration cannot be used: `problems` are one line each, FILE:LINE:COLUMN: what. */
export class ConfigError extends Error {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems[0]);
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

/** Values that the contract names and this version does not do yet: refused, so that nobody waits for what never comes. */
const notYet = <const T extends readonly string[]>(words: T, later: readonly string[]) =>
  v.pipe(
    v.string(`expected ${[...words, ...later].join(', ')}`),
    v.check((value) => !later.includes(value), 'this version of evbd cannot do that yet'),
    v.picklist(words, `expected one of ${words.join(', ')}`),
  );

const protocol = v.optional(notYet(['auto', 'ratified'], ['draft']), 'auto');

/** The uncertain points of the standard, for peers that chose otherwise. */
const interop = section({
  'manager-octet': v.optional(oneOf(['first', 'last']), 'first'),
  'ecp-source': v.optional(oneOf(['peer', 'any']), 'peer'),
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
  slaves: v.optional(notYet(['manual'], ['auto']), 'manual'),
  'when-relay-refused': v.optional(notYet(['keep'], ['bridge']), 'keep'),
  libvirt: v.optional(
    v.pipe(
      flag,
      v.check((on) => !on, 'this version of evbd cannot do that yet'),
    ),
    false,
  ),
  interop,
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
  interop,
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
    const stars = text.endsWith('*') ? text.slice(0, -1) : text;
    const whole = stars + '00:00:00:00:00:00'.slice(stars.length);
    return parseMac(whole) !== undefined;
  }, 'expected a MAC address in quotes, * at its end for any'),
);

const rule = v.strictObject(
  {
    match: v.strictObject(
      { uplink: v.optional(v.string()), mac: v.optional(macPattern) },
      'expected a mapping',
    ),
    profile: v.string('expected the name of a profile'),
  },
  'expected a mapping with match and profile',
);

const named = <T extends v.GenericSchema>(what: string, schema: T) =>
  v.optional(
    v.record(v.pipe(v.string(), v.minLength(1), v.maxLength(what === 'profile' ? 64 : 15)), schema),
    {},
  );

const schema = v.strictObject(
  {
    'on-exit': v.optional(oneOf(['keep', 'release']), 'keep'),
    limits: section({
      'vsis-per-link': v.optional(integer(1, 65535), 4096),
      'frames-per-second': v.optional(integer(1, 1_000_000), 2000),
    }),
    uplinks: named('uplink', uplink),
    ports: named('port', port),
    profiles: named('profile', profile),
    rules: v.optional(v.array(rule, 'expected a list'), []),
  },
  'expected a mapping',
);

export type Config = v.InferOutput<typeof schema>;
export type UplinkConfig = Config['uplinks'][string];
export type PortConfig = Config['ports'][string];
export type ProfileConfig = Config['profiles'][string];

/** Reads and validates a configuration file; every key has its default afterwards. Throws ConfigError. */
export function loadConfig(file: string): Config {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const reason =
      code === 'ENOENT' ? 'no such file' : code === 'EACCES' ? 'no permission to read it' : String(code);
    throw new ConfigError([`${file}: ${reason}; name a configuration with --config FILE`]);
  }
  return parseConfig(text, file);
}

export function parseConfig(text: string, file: string): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const at = (offset: number) => {
    const { line, col } = lines.linePos(offset);
    return `${file}:${line}:${col}`;
  };
  if (document.errors.length > 0) {
    throw new ConfigError(
      document.errors.map(({ pos, message }) => `${at(pos[0])}: ${message.split('\n')[0]}`),
    );
  }
  // An empty section (`eth1:` with nothing behind it) means its defaults.
  const result = v.safeParse(schema, withoutNull(document.toJS() ?? {}));
  const problems: { offset: number; text: string }[] = [];
  if (!result.success) {
    for (const issue of result.issues) {
      const path = (issue.path ?? []).map(({ key }) => key as string | number);
      const unknown = isUnknownKey(issue);
      problems.push({ offset: offsetOf(document.contents, path, unknown), text: problemText(issue, path) });
    }
  } else {
    const config = result.output;
    for (const name of Object.keys(config.uplinks)) {
      if (!(name in config.ports)) continue;
      const text = `ports.${name}: the interface is an uplink too; it can have one role only`;
      problems.push({ offset: offsetOf(document.contents, ['ports', name]), text });
    }
    for (const [i, { profile }] of config.rules.entries()) {
      if (profile in config.profiles) continue;
      const known = Object.keys(config.profiles).join(', ') || 'none';
      const text = `rules.${i}.profile: there is no profile ${profile} (profiles: ${known})`;
      problems.push({ offset: offsetOf(document.contents, ['rules', i, 'profile']), text });
    }
    if (problems.length === 0) return config;
  }
  problems.sort((a, b) => a.offset - b.offset);
  throw new ConfigError(problems.map(({ offset, text }) => `${at(offset)}: ${text}`));
}

function isUnknownKey(issue: v.BaseIssue<unknown>): boolean {
  return issue.type === 'strict_object' && issue.expected === 'never';
}

function problemText(issue: v.BaseIssue<unknown>, path: readonly (string | number)[]): string {
  const key = path.join('.');
  if (isUnknownKey(issue)) return `${key}: unknown key`;
  if (issue.received === 'undefined') return `${key}: missing`;
  return `${key === '' ? 'the file' : key}: ${issue.message}, found ${issue.received}`;
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

function withoutNull(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutNull);
  if (typeof value !== 'object' || value === null) return value ?? undefined;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, inner === null ? undefined : withoutNull(inner)]),
  );
}
