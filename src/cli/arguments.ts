/** Command lines of evbctl: what each verb takes, its help, and the checks that need no daemon. */

import { type ParseArgsConfig, parseArgs } from 'node:util';
import { wrap } from './terminal.ts';

/** The user's command line is wrong: one line that says what, and what is accepted. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

interface Option {
  /** What its value is called; absent for a switch. */
  value?: string;
  multiple?: boolean;
  help: string;
}

export interface Verb {
  /** Behind the verb's name. */
  synopsis: string;
  help: string;
  /** Only in the verb's own help. */
  more?: string;
  /** Least and greatest number of positional arguments. */
  positionals: readonly [number, number];
  options: Readonly<Record<string, Option>>;
}

const timeout: Option = { value: 'S', help: 'seconds for the whole operation (default 20)' };

const vsiOptions: Record<string, Option> = {
  mac: { value: 'M', help: "the guest's address, 52:54:00:0a:0b:0c" },
  vlan: { value: 'V', help: 'its VID, 0..4094; 0: the bridge chooses' },
  group: { value: 'G', help: 'GroupID, 0..4294967295, where the link has group ids' },
  pcp: { value: 'P', help: 'priority code point, 0..7' },
  filter: {
    value: '[MAC/]VID[/GROUP][@PCP]',
    multiple: true,
    help: 'instead of the four above, any number of times; 10 is a VID alone',
  },
  profile: { value: 'NAME', help: 'a profile of the configuration' },
  manager: {
    value: 'X',
    help: 'instead of a profile, the VSI manager: 0..255, an IPv6 address, a UUID or 32 hex digits',
  },
  type: { value: 'T', help: 'with --manager: the VSI type, 0..16777215 or 0x...' },
  'type-version': { value: 'N', help: 'with --manager: its version, 0..255' },
  id: { value: 'ID', help: 'the VSI: a UUID, IPv4, IPv6 or MAC address, or 32 hex digits' },
  'id-format': { value: 'F', help: 'uuid, ipv4, ipv6, mac or local, where ID does not tell' },
  hint: { value: 'none|from|to', help: 'migration: the guest leaves (from) or comes (to)' },
  from: { value: 'FILE', help: 'many at once: a VSI as JSON a line; - is standard input' },
  timeout,
};

/** In the order in which the help lists them. */
export const VERBS = {
  status: {
    synopsis: '[LINK]',
    help: 'links: peer, relay and why, leaks, slaves, timers, counters',
    positionals: [0, 1],
    options: { timeout },
  },
  vsi: {
    synopsis: '[ID]',
    help: 'the VSIs, or one with its history; ID or LINK/ID',
    positionals: [0, 1],
    options: { timeout },
  },
  associate: {
    synopsis: 'LINK (--mac M|--vlan V|--filter F) (--profile P|--manager X --type T --type-version N)',
    help: 'asks the bridge to let a guest in; waits for its answer',
    positionals: [1, 1],
    options: vsiOptions,
  },
  preassociate: {
    synopsis: 'LINK ... as associate',
    help: 'prepares that, as for a guest that migrates here',
    positionals: [1, 1],
    options: { ...vsiOptions, reserve: { help: 'with resources reserved' } },
  },
  deassociate: {
    synopsis: 'ID',
    help: 'takes a guest out; ID or LINK/ID',
    positionals: [1, 1],
    options: { timeout },
  },
  wait: {
    synopsis: 'LINK negotiated|relay',
    help: 'until the peer is known, or reflective relay is on',
    more: 'An evbd that is still starting is waited for too.',
    positionals: [2, 2],
    options: { timeout },
  },
  monitor: {
    synopsis: '',
    help: 'what happens, as it happens',
    positionals: [0, 0],
    options: {},
  },
  trace: {
    synopsis: 'LINK',
    help: 'the frames of LLDP, ECP and VDP as they pass',
    positionals: [1, 1],
    options: {
      pcap: { value: 'FILE', help: 'also records them' },
      count: { value: 'N', help: 'ends after N frames' },
    },
  },
  decode: {
    synopsis: 'FILE.pcap',
    help: 'the same from a capture file, without a daemon; - is stdin',
    positionals: [1, 1],
    options: {},
  },
  probe: {
    synopsis: 'LINK',
    help: 'sends test frames and tells whether the bridge reflects them',
    more: 'It does not, or they come back more than once: exit 1. A probe takes three seconds at most.',
    positionals: [1, 1],
    options: { timeout },
  },
  doctor: {
    synopsis: '[LINK]',
    help: 'what on this host keeps EVB from working, and how to mend it',
    more: 'A line that begins with $ can be pasted as it is. There is a problem: exit 1.',
    positionals: [0, 1],
    options: {
      config: { value: 'FILE', help: 'default: that of the evbd that runs, or /etc/evbd/evbd.yaml' },
      listen: { value: 'SECONDS', help: 'where evbd tells of no neighbour, listen for LLDP so long' },
      verbose: { help: 'also what is right' },
    },
  },
  reload: {
    synopsis: '',
    help: 'evbd reads its configuration again; says what changed',
    positionals: [0, 0],
    options: { timeout },
  },
  release: {
    synopsis: 'LINK',
    help: 'gives up every VSI of a link and undoes what evbd set there',
    positionals: [1, 1],
    options: { timeout },
  },
} as const satisfies Record<string, Verb>;

export type VerbName = keyof typeof VERBS;

const common: Record<string, Option> = {
  bus: { value: 'system|session|ADDRESS', help: 'where evbd is (default EVBD_BUS, else system)' },
  json: { help: 'for programs' },
  help: { help: 'this text' },
};

export type Values = Readonly<Record<string, string | undefined>>;

export type Command =
  | { verb: 'help'; about?: VerbName }
  | { verb: 'version' }
  | {
      verb: VerbName;
      positionals: string[];
      /** Options with one value. */
      values: Values;
      filters: string[];
      reserve: boolean;
      json: boolean;
      bus: string;
    };

/** Throws UsageError. */
export function parseCommand(args: readonly string[], environment: Values): Command {
  const at = verbIndex(args);
  const verb = at < 0 ? undefined : args[at];
  const rest = args.filter((_, i) => i !== at);
  if (verb === undefined) {
    if (rest.includes('--version')) return { verb: 'version' };
    if (rest.includes('--help') || rest.includes('-h')) return { verb: 'help' };
    throw new UsageError(`a verb is missing; ${verbList()}`);
  }
  if (verb === 'help') {
    const [about] = rest.filter((word) => !word.startsWith('-'));
    return about === undefined ? { verb: 'help' } : { verb: 'help', about: verbNamed(about) };
  }
  const name = verbNamed(verb);
  if (rest.includes('--help') || rest.includes('-h')) return { verb: 'help', about: name };
  const parsed = parseOptions(name, rest);
  return { verb: name, ...parsed, bus: busOf(parsed.values, environment) };
}

/** Options that every verb has may stand in front of it. */
function verbIndex(args: readonly string[]): number {
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--bus') i++;
    else if (!arg.startsWith('-')) return i;
    else if (!/^(--bus=.*|--json|--help|-h|--version)$/s.test(arg))
      throw new UsageError(
        `unknown option ${arg} in front of the verb; there only --bus and --json may stand`,
      );
  }
  return -1;
}

function verbNamed(name: string): VerbName {
  if (Object.hasOwn(VERBS, name)) return name as VerbName;
  throw new UsageError(`unknown verb ${JSON.stringify(name)}; ${verbList()}`);
}

function verbList(): string {
  return `there are ${[...Object.keys(VERBS), 'help'].join(', ')}`;
}

function parseOptions(verb: VerbName, args: string[]) {
  const { options, positionals: bounds }: Verb = VERBS[verb];
  const known: Record<string, Option> = { ...common, ...options };
  const config: ParseArgsConfig['options'] = {};
  for (const [name, { value }] of Object.entries(known))
    config[name] = { type: value ? 'string' : 'boolean' };
  const { tokens } = parseArgs({
    args,
    options: config,
    strict: false,
    allowPositionals: true,
    tokens: true,
  });

  const values: Record<string, string> = {};
  const positionals: string[] = [];
  const filters: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value);
    if (token.kind !== 'option') continue;
    const { name, rawName, value, inlineValue } = token;
    const option = Object.hasOwn(known, name) ? known[name] : undefined;
    if (option === undefined) {
      throw new UsageError(`unknown option ${rawName}; ${verb} takes --${Object.keys(known).join(', --')}`);
    }
    if (option.value === undefined) {
      if (value !== undefined) throw new UsageError(`--${name} takes no value, not ${JSON.stringify(value)}`);
      values[name] = 'true';
      continue;
    }
    if (value === undefined || value === '' || (!inlineValue && value.length > 1 && value.startsWith('-'))) {
      throw new UsageError(`--${name} wants a value: ${option.value}, ${option.help}`);
    }
    if (name === 'filter') filters.push(value);
    else if (name in values) throw new UsageError(`--${name} is given twice`);
    else values[name] = value;
  }
  const [least, most] = bounds;
  if (positionals.length < least || positionals.length > most) {
    const what =
      positionals.length < least
        ? `${VERBS[verb].synopsis.split(' ')[positionals.length]} is missing`
        : `${JSON.stringify(positionals[most])} is too much`;
    throw new UsageError(`${what}; write evbctl ${verb} ${VERBS[verb].synopsis}`.trimEnd());
  }
  return { positionals, values, filters, reserve: 'reserve' in values, json: 'json' in values };
}

function busOf(values: Values, environment: Values): string {
  const [from, bus] =
    values['bus'] === undefined
      ? ['EVBD_BUS', environment['EVBD_BUS'] || 'system']
      : ['--bus', values['bus']];
  if (bus === 'system' || bus === 'session' || bus.includes(':')) return bus;
  throw new UsageError(
    `${from} wants system, session or an address like unix:path=/run/bus, not ${JSON.stringify(bus)}`,
  );
}

/** Milliseconds of `--timeout`. */
export function timeoutOf(values: Values): number {
  const text = values['timeout'];
  if (text === undefined) return 20_000;
  const seconds = /^\d*\.?\d+$|^\d+\.$/.test(text) ? Number(text) : Number.NaN;
  if (seconds > 0 && seconds <= 86_400) return Math.max(1, Math.round(seconds * 1000));
  throw new UsageError(`--timeout wants seconds, more than 0 and at most 86400, not ${JSON.stringify(text)}`);
}

/** An integer, decimal or 0x…, of an option or a part of one; undefined when `text` is. */
export function integerOf(
  what: string,
  text: string | undefined,
  min: number,
  max: number,
): number | undefined {
  if (text === undefined) return undefined;
  const value = /^(\d+|0x[0-9a-f]+)$/i.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new UsageError(`${what} wants an integer ${min}..${max}, not ${JSON.stringify(text)}`);
}

export function helpText(about?: VerbName): string {
  if (about === undefined) {
    const verbs = Object.entries<Verb>(VERBS).map(([name, { help }]) => `  ${name.padEnd(14)}${help}`);
    return [
      'usage: evbctl [--bus system|session|ADDRESS] [--json] VERB ...',
      '',
      'Shows and steers evbd, the Edge Virtual Bridging daemon (IEEE 802.1Qbg).',
      '',
      ...verbs,
      '',
      'evbctl help VERB tells what a verb takes. EVBD_BUS is the default for --bus.',
      'Exit: 0 done, 1 failed, refused or conflict, 2 usage, 3 evbd not reached,',
      '4 deadline passed.',
      '',
    ].join('\n');
  }
  const { synopsis, help, more = '', options }: Verb = VERBS[about];
  const lines = Object.entries({ ...options, ...common }).flatMap(([name, option]) => {
    const head = `  --${name}${option.value ? ` ${option.value}` : ''}`;
    const [first, ...others] = wrap(option.help, COLUMNS - OPTION).map((line) => ' '.repeat(OPTION) + line);
    return head.length < OPTION ? [head + first!.slice(head.length), ...others] : [head, first!, ...others];
  });
  const [usage, ...rest] = wrap(`usage: evbctl ${about} ${synopsis}`.trimEnd(), COLUMNS - 7);
  return [
    usage,
    ...rest.map((line) => `       ${line}`),
    '',
    ...wrap(`${help[0]!.toUpperCase()}${help.slice(1)}. ${more}`.trimEnd(), COLUMNS),
    '',
    ...lines,
    '',
  ].join('\n');
}

const COLUMNS = 80;
/** Column at which an option's help starts. */
const OPTION = 24;
