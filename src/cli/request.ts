/** What `associate` and `preassociate` are asked for: from options, and from lines of JSON. */

import { fromHex, parseMac, parseUuid } from '../../protocols/octets/index.ts';
import { filterProblem, parseIpv4, parseIpv6 } from '../../protocols/vdp/index.ts';
import { toVsiRequest } from '../dbus/vsi-dictionary.ts';
import { type Dictionary, type Value, Variant } from '../dbus/wire.ts';
import { EvbError, type Filter, type VsiRequest } from '../model.ts';
import { integerOf, UsageError, type Values } from './arguments.ts';

/** Throws UsageError that names the option. */
export function requestOf(values: Values, filters: readonly string[]): VsiRequest {
  return { ...filtersOf(values, filters), ...typeOf(values), ...identityOf(values), ...hintOf(values) };
}

function filtersOf(values: Values, filters: readonly string[]): VsiRequest {
  const single = ['mac', 'vlan', 'group', 'pcp'].filter((name) => values[name] !== undefined);
  if (filters.length > 0) {
    if (single.length > 0) throw new UsageError(`--filter and --${single[0]} exclude each other`);
    const parsed = filters.map(filterOf);
    const keys = new Set(parsed.map(({ mac, group }) => `${mac === undefined}${group === undefined}`));
    if (keys.size > 1) {
      throw new UsageError(
        'every --filter of a VSI must have the same parts: all with MAC or none, and so GROUP',
      );
    }
    return { filters: parsed.map((filter) => checked('--filter', filter)) };
  }
  if (values['mac'] === undefined && values['vlan'] === undefined && values['profile'] === undefined) {
    throw new UsageError('whom to associate is missing: give --mac M, --vlan V or --filter [MAC/]VID');
  }
  const request: VsiRequest = {};
  const vlan = integerOf('--vlan', values['vlan'], 0, 4094);
  const group = integerOf('--group', values['group'], 0, 0xffffffff);
  const pcp = integerOf('--pcp', values['pcp'], 0, 7);
  if (values['mac'] !== undefined)
    request.mac = checked('--mac', { mac: macOf('--mac', values['mac']), vid: 0 }).mac!;
  if (vlan !== undefined) request.vlan = vlan;
  if (group !== undefined) request.group = group;
  if (pcp !== undefined) request.pcp = pcp;
  return request;
}

/** `[MAC/]VID[/GROUP][@PCP]` */
function filterOf(text: string): Filter {
  const what = `--filter ${text}`;
  const [main = '', pcpText, ...more] = text.split('@');
  const parts = main.split('/');
  const mac = parts[0]!.length > 10 ? macOf(what, parts.shift()!) : undefined;
  const [vidText, groupText, ...rest] = parts;
  if (!vidText || more.length > 0 || rest.length > 0) {
    throw new UsageError(`${what}: expected [MAC/]VID[/GROUP][@PCP], such as 52:54:00:0a:0b:0c/10 or 10@5`);
  }
  const filter: Filter = { vid: integerOf(`${what}: VID`, vidText, 0, 4094)! };
  const group = integerOf(`${what}: GROUP`, groupText, 0, 0xffffffff);
  const pcp = integerOf(`${what}: PCP`, pcpText, 0, 7);
  if (mac !== undefined) filter.mac = mac;
  if (group !== undefined) filter.group = group;
  if (pcp !== undefined) filter.pcp = pcp;
  return filter;
}

function macOf(what: string, text: string): string {
  const mac = parseMac(text);
  if (mac === undefined)
    throw new UsageError(`${what}: ${JSON.stringify(text)} is no MAC address (52:54:00:0a:0b:0c)`);
  return mac;
}

function checked(what: string, filter: Filter): Filter {
  const problem = filterProblem([filter as Parameters<typeof filterProblem>[0][number]], true);
  if (problem !== undefined) throw new UsageError(`${what}: ${problem}`);
  if (isZero(filter.mac)) throw new UsageError(`${what}: ${NO_GUEST}`);
  return filter;
}

const NO_GUEST = '00:00:00:00:00:00 is no guest MAC';
const isZero = (mac: string | undefined) => mac !== undefined && /^[0:.-]*$/.test(mac);

function typeOf(values: Values): VsiRequest {
  const triple = ['manager', 'type', 'type-version'];
  const given = triple.filter((name) => values[name] !== undefined);
  if (values['profile'] !== undefined) {
    if (given.length > 0) throw new UsageError(`--profile and --${given[0]} exclude each other`);
    return { profile: values['profile'] };
  }
  if (given.length === 0) {
    throw new UsageError(
      'what to associate as is missing: give --profile NAME, or --manager, --type and --type-version',
    );
  }
  const missing = triple.filter((name) => !given.includes(name));
  if (missing.length > 0)
    throw new UsageError(`--${missing.join(' and --')} missing: they belong to --${given.join(' and --')}`);
  return {
    manager: managerOf(values['manager']!),
    type: integerOf('--type', values['type'], 0, 0xffffff)!,
    typeVersion: integerOf('--type-version', values['type-version'], 0, 255)!,
  };
}

function managerOf(text: string): string {
  const number = /^\d{1,3}$/.test(text) && Number(text) <= 255;
  if (number || parseIpv6(text) || parseUuid(text) || (text.length === 32 && fromHex(text))) return text;
  throw new UsageError(
    `--manager wants 0..255, an IPv6 address, a UUID or 32 hex digits, not ${JSON.stringify(text)}`,
  );
}

const ID_FORMATS = ['uuid', 'ipv4', 'ipv6', 'mac', 'local'] as const;
type IdFormat = (typeof ID_FORMATS)[number];

const isOf: Record<IdFormat, (text: string) => boolean> = {
  uuid: (text) => parseUuid(text) !== undefined,
  ipv4: (text) => parseIpv4(text) !== undefined,
  mac: (text) => parseMac(text) !== undefined,
  ipv6: (text) => parseIpv6(text) !== undefined,
  local: (text) => text.length === 32 && fromHex(text) !== undefined,
};

function identityOf(values: Values): VsiRequest {
  const { id, 'id-format': format } = values;
  if (id === undefined) {
    if (format !== undefined) throw new UsageError('--id-format needs --id');
    return {};
  }
  if (format === undefined) {
    const found = ID_FORMATS.find((each) => isOf[each](id));
    if (found !== undefined) return { id, idFormat: found };
    throw new UsageError(
      `--id wants a UUID, an IPv4, IPv6 or MAC address or 32 hex digits, not ${JSON.stringify(id)}`,
    );
  }
  const named = ID_FORMATS.find((each) => each === format);
  if (named === undefined) {
    throw new UsageError(`--id-format wants ${ID_FORMATS.join(', ')}, not ${JSON.stringify(format)}`);
  }
  if (!isOf[named](id)) throw new UsageError(`--id ${JSON.stringify(id)} is not of --id-format ${named}`);
  return { id, idFormat: named };
}

function hintOf({ hint }: Values): VsiRequest {
  if (hint === undefined) return {};
  if (hint === 'none' || hint === 'from' || hint === 'to') return { hint };
  throw new UsageError(`--hint wants none, from or to, not ${JSON.stringify(hint)}`);
}

/** One line of `--from`: the keys are those of D-Bus. Throws EvbError InvalidArgument that names the key. */
export function requestOfJson(line: string): VsiRequest {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    throw invalid(`no JSON: ${JSON.stringify(line.slice(0, 40))}`);
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw invalid('expected an object such as {"mac":"52:54:00:0a:0b:0c","vlan":10,"profile":"web"}');
  }
  const request = toVsiRequest(dictionaryOf(value));
  const { id, idFormat, mac, filters = [] } = request;
  for (const filter of mac === undefined ? filters : [{ mac, vid: 0 }]) {
    const octets = filter.mac === undefined ? undefined : parseMac(filter.mac);
    const problem = octets && filterProblem([{ vid: filter.vid, mac: octets }], true);
    if (problem !== undefined) throw invalid(`mac: ${problem}`);
    if (isZero(octets)) throw invalid(`mac: ${NO_GUEST}`);
  }
  if (id !== undefined && idFormat === undefined) {
    const found = ID_FORMATS.find((each) => isOf[each](id));
    if (found === undefined)
      throw invalid(`id: ${JSON.stringify(id)} is no UUID, IP or MAC address and no 32 hex digits`);
    request.idFormat = found;
  }
  return request;
}

function dictionaryOf(value: object): Dictionary {
  const dictionary: Dictionary = Object.create(null);
  for (const [key, item] of Object.entries(value)) dictionary[key] = variantOf(item);
  return dictionary;
}

function variantOf(value: unknown): Value {
  if (typeof value === 'number') return new Variant(Number.isInteger(value) ? 'x' : 'd', value);
  if (typeof value === 'string') return new Variant('s', value);
  if (Array.isArray(value)) {
    return new Variant(
      'aa{sv}',
      value.map((item) => (typeof item === 'object' && item !== null ? dictionaryOf(item) : variantOf(item))),
    );
  }
  // Neither fits any key: the daemon's own words say so.
  return typeof value === 'boolean' ? new Variant('b', value) : new Variant('s', String(value));
}

function invalid(message: string): EvbError {
  return new EvbError('InvalidArgument', message);
}
