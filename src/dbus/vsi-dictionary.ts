/** The dictionary a{sv} by which a VSI is asked for, to and from the daemon's `VsiRequest`. */

import { EvbError, type Filter, type VsiRequest } from '../model.ts';
import { type Dictionary, type Value, Variant } from './wire.ts';

type Rule =
  | { kind: 'integer'; type: string; min: number; max: number }
  | { kind: 'string'; type: 's'; pattern?: RegExp; expected: string };

const MAC = /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i;

function integer(type: string, min: number, max: number): Rule {
  return { kind: 'integer', type, min, max };
}

function string(expected: string, pattern?: RegExp): Rule {
  return pattern === undefined
    ? { kind: 'string', type: 's', expected }
    : { kind: 'string', type: 's', pattern, expected };
}

const mac = string('an address like 52:54:00:12:34:56', MAC);
// 4095 is reserved (802.1Q, table 9-2); 0 lets the bridge choose.
const vid = integer('q', 0, 4094);
const group = integer('u', 0, 0xffffffff);
const pcp = integer('y', 0, 7);

/** Key of the dictionary, key of the request, what its value must be. */
const KEYS: readonly (readonly [string, Exclude<keyof VsiRequest, 'filters'>, Rule])[] = [
  ['id', 'id', string('a string')],
  ['id-format', 'idFormat', string('uuid, ipv4, ipv6, mac or local', /^(uuid|ipv4|ipv6|mac|local)$/)],
  ['mac', 'mac', mac],
  ['vlan', 'vlan', vid],
  ['group', 'group', group],
  ['pcp', 'pcp', pcp],
  ['profile', 'profile', string('the name of a configured profile', /./)],
  [
    'manager',
    'manager',
    string('an integer 0..255, an IPv6 address, a UUID or 32 hex digits, as a string', /./),
  ],
  // The VTID has 24 bits on the wire.
  ['type', 'type', integer('u', 0, 0xffffff)],
  ['type-version', 'typeVersion', integer('y', 0, 255)],
  ['hint', 'hint', string('none, from or to', /^(none|from|to)$/)],
  // A timer of the process takes no more.
  ['timeout', 'timeout', integer('u', 1, 0x7fffffff)],
];

const FILTER_KEYS: readonly (readonly [string, keyof Filter, Rule])[] = [
  ['mac', 'mac', mac],
  ['vid', 'vid', vid],
  ['group', 'group', group],
  ['pcp', 'pcp', pcp],
];

/** Throws EvbError InvalidArgument: one line that names the key and what is expected. */
export function toVsiRequest(dictionary: Dictionary): VsiRequest {
  const request: VsiRequest = {};
  for (const [key, value] of Object.entries(dictionary)) {
    if (key === 'filters') {
      request.filters = toFilters(unwrap(value));
      continue;
    }
    const known = KEYS.find(([name]) => name === key);
    if (known === undefined) {
      throw invalid(`unknown key ${show(key)}; known are ${KEYS.map(([name]) => name).join(', ')}, filters`);
    }
    const [, field, rule] = known;
    const taken = field === 'manager' ? managerAsString(value) : value;
    Object.assign(request, { [field]: take(key, rule, taken) });
  }
  refuseBoth(dictionary, ['filters'], ['mac', 'vlan', 'group', 'pcp']);
  refuseBoth(dictionary, ['profile'], ['manager', 'type', 'type-version']);
  const triple = ['manager', 'type', 'type-version'];
  const missing = triple.filter((key) => !(key in dictionary));
  if (missing.length === 1 || missing.length === 2) {
    throw invalid(`${missing.join(' and ')} missing: manager, type and type-version belong together`);
  }
  return request;
}

/** The dictionary that `toVsiRequest` reads back. */
export function fromVsiRequest(request: VsiRequest): Dictionary {
  const dictionary: Dictionary = {};
  for (const [key, field, rule] of KEYS) {
    const value = request[field];
    if (value !== undefined) dictionary[key] = new Variant(fitting(rule, value), value);
  }
  if (request.filters !== undefined) {
    dictionary['filters'] = new Variant('aa{sv}', request.filters.map(fromFilter));
  }
  return dictionary;
}

/** As in the property `Filters` and in the key `filters`. */
export function fromFilter(filter: Filter): Dictionary {
  const dictionary: Dictionary = {};
  for (const [key, field, rule] of FILTER_KEYS) {
    const value = filter[field];
    if (value !== undefined) dictionary[key] = new Variant(fitting(rule, value), value);
  }
  return dictionary;
}

/** A value outside its type travels in a wide one, so that the daemon refuses it in its own words. */
function fitting(rule: Rule, value: string | number): string {
  if (typeof value === 'string') return 's';
  if (rule.kind === 'integer' && value >= rule.min && value <= rule.max && Number.isInteger(value))
    return rule.type;
  return Number.isSafeInteger(value) ? 'x' : 'd';
}

function toFilters(value: unknown): Filter[] {
  const expected = 'filters: expected a non-empty array of dictionaries (aa{sv}) with mac, vid, group, pcp';
  if (!Array.isArray(value) || value.length === 0) throw invalid(expected);
  return value.map((entry: unknown, i) => {
    if (typeof entry !== 'object' || entry === null || Array.isArray(entry) || entry instanceof Uint8Array) {
      throw invalid(expected);
    }
    const filter: Partial<Filter> = {};
    for (const [key, item] of Object.entries(entry as Dictionary)) {
      const known = FILTER_KEYS.find(([name]) => name === key);
      if (known === undefined) {
        throw invalid(`filters[${i}]: unknown key ${show(key)}; known are mac, vid, group, pcp`);
      }
      Object.assign(filter, { [known[1]]: take(`filters[${i}].${key}`, known[2], item) });
    }
    if (filter.vid === undefined) {
      throw invalid(`filters[${i}].vid is missing: expected an integer 0..4094 (0: the bridge chooses)`);
    }
    return filter as Filter;
  });
}

function take(key: string, rule: Rule, variant: Value): string | number {
  const value = unwrap(variant);
  if (rule.kind === 'string') {
    if (typeof value === 'string' && (rule.pattern?.test(value) ?? true)) return value;
    throw invalid(`${key}: expected ${rule.expected}, not ${show(value)}`);
  }
  const isInteger = variant instanceof Variant && 'ynqiuxt'.includes(variant.signature);
  if (isInteger && typeof value === 'number' && value >= rule.min && value <= rule.max) return value;
  throw invalid(`${key}: expected an integer ${rule.min}..${rule.max}, not ${show(value)}`);
}

/** A manager given as a number is one of 0..255, as in the configuration. */
function managerAsString(variant: Value): Value {
  if (!(variant instanceof Variant) || !'ynqiuxt'.includes(variant.signature)) return variant;
  return new Variant('s', String(take('manager', integer('y', 0, 255), variant)));
}

function refuseBoth(dictionary: Dictionary, some: readonly string[], others: readonly string[]): void {
  const one = some.find((key) => key in dictionary);
  const other = others.find((key) => key in dictionary);
  if (one !== undefined && other !== undefined) {
    throw invalid(`${one} and ${other} exclude each other: give ${one}, or ${others.join(', ')}`);
  }
}

function unwrap(value: Value | undefined): unknown {
  return value instanceof Variant ? value.value : value;
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  if (value instanceof Uint8Array) return 'octets';
  if (Array.isArray(value)) return 'an array';
  return typeof value === 'object' ? 'a dictionary' : String(value);
}

function invalid(message: string): EvbError {
  return new EvbError('InvalidArgument', message);
}
