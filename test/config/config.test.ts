/** What evbd.yaml may say, what it means when it says nothing, and what a person is told when it is wrong. */

import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ConfigError, loadConfig, parseConfig } from '../../src/config/config.ts';

/** The problems of a text, without the name of the file. */
function problems(text: string): readonly string[] {
  try {
    parseConfig(text, 'F');
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    expect(error.message).toBe(error.problems[0]);
    return error.problems.map((line) => {
      expect(line).toMatch(/^F:\d+:\d+: [^\p{Cc}]+$/u);
      return line.slice(2);
    });
  }
  return [];
}

describe('defaults', () => {
  const interop = {
    'manager-octet': 'first',
    'ecp-source': 'peer',
    'filter-count': 'present',
    'lldp-scope': 'customer-bridge',
    'draft-renumber': false,
  };
  const uplink = {
    protocol: 'auto',
    peer: 'auto',
    evb: true,
    lldp: { 'tx-interval': 30, 'tx-hold': 4 },
    'reflective-relay': 'request',
    'group-ids': false,
    ecp: { 'max-retries': 3, rte: 14 },
    vdp: { rwd: 20, rka: 20 },
    slaves: 'manual',
    'when-relay-refused': 'keep',
    libvirt: false,
    interop: { ...interop, 'evb-first': true },
  };
  const port = {
    protocol: 'auto',
    evb: true,
    lldp: { 'tx-interval': 30, 'tx-hold': 4 },
    'reflective-relay': 'allow',
    'group-ids': true,
    ecp: { 'max-retries': 3, rte: 14 },
    vdp: { rwd: 20, rka: 20 },
    admission: 'open',
    enforce: false,
    leak: 'stop',
    isolated: 'report',
    interop: { ...interop, 'vsi-key': 'vsiid', 'deassoc-ack': false },
  };
  const nothing = {
    'on-exit': 'keep',
    limits: {
      'vsis-per-link': 4096,
      'frames-per-second': 2000,
      'slaves-per-uplink': 2048,
      'slaves-per-namespace': 64,
    },
    uplinks: {},
    ports: {},
    profiles: {},
    rules: [],
  };

  it.each(['', '# nothing\n', '---\n', '{}', 'limits:\nuplinks:\nports:\nprofiles:\nrules:\n'])(
    'of a file without a word: %j',
    (text) => {
      expect(parseConfig(text, 'F')).toEqual(nothing);
    },
  );

  it.each(['{ uplinks: { eth1: {} }, ports: { swp1: {} } }', 'uplinks:\n  eth1:\nports:\n  swp1:\n'])(
    'of every key of a link: %j',
    (text) => {
      expect(parseConfig(text, 'F')).toEqual({
        ...nothing,
        uplinks: { eth1: uplink },
        ports: { swp1: port },
      });
    },
  );

  it('of the keys beside one that is given', () => {
    const { limits, uplinks } = parseConfig(
      'limits: { vsis-per-link: 8 }\nuplinks: { eth1: { ecp: { rte: 20 }, vdp: , lldp: { tx-hold: 2 } } }',
      'F',
    );
    expect(limits).toMatchObject({ 'vsis-per-link': 8, 'frames-per-second': 2000 });
    expect(uplinks['eth1']).toEqual({
      ...uplink,
      ecp: { 'max-retries': 3, rte: 20 },
      lldp: { 'tx-interval': 30, 'tx-hold': 2 },
    });
  });

  it('of profiles and rules there are none', () => {
    const { profiles, rules } = parseConfig(
      'profiles: { web: { manager: 1, type: 0x123456, type-version: 1 } }\nrules: [{ match: {}, profile: web }]',
      'F',
    );
    expect(profiles).toEqual({ web: { manager: 1, type: 0x123456, 'type-version': 1 } });
    expect(rules).toEqual([{ match: {}, profile: 'web' }]);
  });
});

describe('what is taken', () => {
  it('everything that there is', () => {
    const config = parseConfig(
      `
on-exit: release
limits: { vsis-per-link: 65535, frames-per-second: 1000000, slaves-per-uplink: 1, slaves-per-namespace: 65535 }
uplinks:
  eth1: &common
    protocol: ratified
    peer: lldpad
    evb: false
    lldp: { tx-interval: 1, tx-hold: 10 }
    reflective-relay: assume
    group-ids: true
    ecp: { max-retries: 0, rte: 31 }
    vdp: { rwd: 0, rka: 31 }
    slaves: manual
    when-relay-refused: keep
    libvirt: false
    interop:
      { manager-octet: last, ecp-source: any, filter-count: absent, lldp-scope: nearest-bridge, draft-renumber: true,
        evb-first: false }
  bond0.100: *common
ports:
  swp1: { reflective-relay: always, admission: profiles, enforce: on }
  swp2: { enforce: off }
  swp3: { enforce: true, interop: { vsi-key: lldpad, deassoc-ack: true } }
profiles:
  web: { manager: 255, type: 16777215, type-version: 255, vlan: 4094 }
  six: { manager: "fd00::1", type: 0, type-version: 0, vlan: 0 }
  uuid: { manager: 9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e359, type: 0, type-version: 0 }
  hex: { manager: "9d3f1c2075b14e0ea4c66b1f20d7e359", type: 0, type-version: 0 }
rules:
  - match: { uplink: eth1, mac: "52:54:00:*" }
    profile: web
  - { match: { mac: "*" }, profile: six }
  - { match: { mac: "52:54:00:00:00:01" }, profile: six }
`,
      'F',
    );
    expect(config.uplinks['bond0.100']).toEqual(config.uplinks['eth1']);
    expect(config.uplinks['eth1']!.interop).toEqual({
      'manager-octet': 'last',
      'ecp-source': 'any',
      'filter-count': 'absent',
      'lldp-scope': 'nearest-bridge',
      'draft-renumber': true,
      'evb-first': false,
    });
    expect(config.ports['swp3']!.interop).toMatchObject({ 'vsi-key': 'lldpad', 'deassoc-ack': true });
    expect(Object.values(config.ports).map(({ enforce }) => enforce)).toEqual([true, false, true]);
    expect(config.rules).toHaveLength(3);
  });

  it.each(['eth1', 'a', 'enp3s0f1np1d0.4', 'br-lan', 'eth1@x', '0', 'ünïcode'])('interface %s', (name) => {
    expect(problems(`uplinks: { "${name}": {} }`)).toEqual([]);
  });
});

const NAME = 'an interface name has 1 to 15 octets, no "/", no ":", no white space, and is not "." or ".."';

describe('what is refused, and where', () => {
  it.each<[string, string]>([
    // values
    ['on-exit: never', '1:10: on-exit: expected one of keep, release, found "never"'],
    ['on-exit: [keep]', '1:1: on-exit: expected one of keep, release, found a list'],
    [
      'limits:\n  vsis-per-link: 0',
      '2:18: limits.vsis-per-link: expected a whole number from 1 to 65535, found 0',
    ],
    [
      'limits:\n  vsis-per-link: -1.5',
      '2:18: limits.vsis-per-link: expected a whole number from 1 to 65535, found -1.5',
    ],
    [
      'limits: { frames-per-second: many }',
      '1:30: limits.frames-per-second: expected a whole number from 1 to 1000000, found "many"',
    ],
    ['limits: 5', '1:9: limits: expected a mapping, found 5'],
    ['uplinks: eth1', '1:10: uplinks: expected a mapping of names, found "eth1"'],
    ['uplinks: [eth1]', '1:1: uplinks: expected a mapping of names, found a list'],
    ['ports: 1', '1:8: ports: expected a mapping of names, found 1'],
    ['profiles: true', '1:11: profiles: expected a mapping of names, found true'],
    ['rules: { a: 1 }', '1:1: rules: expected a list, found a mapping'],
    ['rules: [web]', '1:9: rules.0: expected a mapping with match and profile, found "web"'],
    ['uplinks:\n  eth1: request', '2:9: uplinks.eth1: expected a mapping, found "request"'],
    [
      'uplinks:\n  eth1:\n    ecp: { rte: 99 }',
      '3:17: uplinks.eth1.ecp.rte: expected a whole number from 0 to 31, found 99',
    ],
    ['uplinks: { a: { evb: maybe } }', '1:22: uplinks.a.evb: expected true or false, found "maybe"'],
    ['ports: { a: { enforce: 1 } }', '1:24: ports.a.enforce: expected on or off, found 1'],
    ['a list', '1:1: the file: expected a mapping, found "a list"'],
    ['- a', '1:1: the file: expected a mapping, found a list'],
    // what is not there yet
    [
      'uplinks: { a: { libvirt: true } }',
      '1:26: uplinks.a.libvirt: this version of evbd cannot do that yet, found true',
    ],
    [
      'uplinks: { a: { protocol: latest } }',
      '1:27: uplinks.a.protocol: expected one of auto, ratified, draft, found "latest"',
    ],
    // profiles and rules
    ['profiles: { web: { type: 1, type-version: 1 } }', '1:13: profiles.web.manager: missing'],
    ['profiles: { web: }', '1:13: profiles.web: missing'],
    [
      'profiles: { web: { manager: 256, type: 1, type-version: 1 } }',
      '1:29: profiles.web.manager: expected a number from 0 to 255, or in quotes an IPv6 address, a UUID or 32 hex digits, found 256',
    ],
    [
      'rules: [{ match: { mac: "52:54" }, profile: web }]',
      '1:25: rules.0.match.mac: expected a MAC address in quotes, * at its end for any, found "52:54"',
    ],
    [
      'rules: [{ match: { uplink: 1 }, profile: web }]',
      '1:28: rules.0.match.uplink: expected the name of an uplink, found 1',
    ],
    [
      'rules: [{ match: {}, profile: web }]',
      '1:31: rules.0.profile: there is no profile web (profiles: none)',
    ],
    [
      'rules: [{ match: {}, profile: toString }]',
      '1:31: rules.0.profile: there is no profile toString (profiles: none)',
    ],
    [
      'profiles: { web: { manager: 1, type: 1, type-version: 1 } }\nuplinks: { eth1: , eth2: }\nrules:\n- match:\n    uplink: eth9\n  profile: web',
      '5:13: rules.0.match.uplink: there is no uplink eth9 (uplinks: eth1, eth2)',
    ],
    [
      'uplinks: { a: {} }\nports:\n  a: {}',
      '3:3: ports.a: the interface is an uplink too; it can have one role only',
    ],
    // names
    ['uplinks: { "": {} }', `1:12: uplinks."": ${NAME}`],
    ['uplinks:\n  an-interface-too-long: {}', `2:3: uplinks.an-interface-too-long: ${NAME}`],
    ['ports: { "a/b": {} }', `1:10: ports."a/b": ${NAME}`],
    ['ports: { "a:b": {} }', `1:10: ports."a:b": ${NAME}`],
    ['ports: { "a b": {} }', `1:10: ports."a b": ${NAME}`],
    ['ports: { "a\\nb": {} }', `1:10: ports."a\\nb": ${NAME}`],
    ['ports: { ".": {} }', `1:10: ports.".": ${NAME}`],
    ['ports: { "..": {} }', `1:10: ports."..": ${NAME}`],
    ['ports: { üüüüüüüü: {} }', `1:10: ports."üüüüüüüü": ${NAME}`],
    ['ports: { constructor: {} }', '1:10: ports.constructor: this word cannot be a name here'],
    ['ports: { __proto__: {} }', '1:10: ports.__proto__: this word cannot be a name here'],
    [
      `profiles: { ${'x'.repeat(65)}: { manager: 1, type: 1, type-version: 1 } }`,
      `1:13: profiles."${'x'.repeat(40)}…": a profile name has 1 to 64 characters`,
    ],
    // unknown keys
    [
      'uplinks:\n  eth1:\n    reflective_relay: off',
      '3:5: uplinks.eth1.reflective_relay: unknown key; did you mean reflective-relay?',
    ],
    [
      'uplinks:\n  eth1:\n    reflectiverelay: off',
      '3:5: uplinks.eth1.reflectiverelay: unknown key; did you mean reflective-relay?',
    ],
    ['ports: { a: { admision: open } }', '1:15: ports.a.admision: unknown key; did you mean admission?'],
    ['uplink: { eth1: {} }', '1:1: uplink: unknown key; did you mean uplinks?'],
    ['On-Exit: keep', '1:1: On-Exit: unknown key; did you mean on-exit?'],
    [
      'limits: { b: 2 }',
      '1:11: limits.b: unknown key; there are vsis-per-link, frames-per-second, slaves-per-uplink, slaves-per-namespace',
    ],
    [
      'limits: { slaves-per-namespace: 0 }',
      '1:33: limits.slaves-per-namespace: expected a whole number from 1 to 65535, found 0',
    ],
    ['speed: 1', '1:1: speed: unknown key; there are on-exit, limits, uplinks, ports, profiles, rules'],
    ['uplinks:\n  eth1:\n    speed: 10', '3:5: uplinks.eth1.speed: unknown key'],
    ['uplinks: { a: { ecp: { rto: 1 } } }', '1:24: uplinks.a.ecp.rto: unknown key; did you mean rte?'],
    [
      'rules: [{ match: { macs: "*" }, profile: web }]',
      '1:20: rules.0.match.macs: unknown key; did you mean mac?',
    ],
    [
      '"a\\u001b[31m\\nb": 1',
      '1:1: "a\\u001b[31m\\nb": unknown key; there are on-exit, limits, uplinks, ports, profiles, rules',
    ],
    // YAML
    ['uplinks: [', '1:11: Flow sequence in block collection must be sufficiently indented and end with a ]'],
    ['on-exit: keep\non-exit: keep', '2:1: Map keys must be unique'],
    ['a: *x', '1:4: Unresolved alias (the anchor must be set before the alias): x'],
    ['on-exit: keep\n---\non-exit: keep', '2:1: only one YAML document may be in the file'],
  ])('%s', (text, problem) => {
    expect(problems(text)).toEqual([problem]);
  });

  it('every problem has a line, in the order of the file', () => {
    expect(
      problems('speed: 1\non-exit: no\nlimits: { vsis-per-link: x }\n').map((line) => line.slice(0, 4)),
    ).toEqual(['1:1:', '2:10', '3:26']);
  });

  it('a file full of them has so many lines and no more', () => {
    const many = problems(Array.from({ length: 2000 }, (_, i) => `key${i}: 1`).join('\n'));
    expect(many).toHaveLength(51);
    expect(many.at(-1)).toBe('51:1: and 1950 more problems from here on');
  });

  it.each([
    [
      'on-exit: "\\0\\e[2J\\nend"',
      '1:10: on-exit: expected one of keep, release, found "\\u0000\\u001b[2J\\nend"',
    ],
    [
      `on-exit: ${'y'.repeat(100_000)}`,
      `1:10: on-exit: expected one of keep, release, found "${'y'.repeat(40)}…"`,
    ],
    ['on-exit: "\\u202e\\x9b"', '1:10: on-exit: expected one of keep, release, found "\\u202e\\u009b"'],
    ['on-exit: !!binary aGVsbG8=', '1:19: on-exit: expected one of keep, release, found binary data'],
  ])('shows what it found so that it can be printed: %.40j', (text, problem) => {
    const [line, ...more] = problems(text);
    expect(more).toEqual([]);
    expect(line).toContain(problem);
    expect(line!.length).toBeLessThan(200);
  });
});

describe('what is made to exhaust', () => {
  it('aliases of aliases', () => {
    const levels = Array.from({ length: 20 }, (_, i) =>
      i === 0
        ? 'a0: &a0 [x, x]'
        : `a${i}: &a${i} [${Array(10)
            .fill(`*a${i - 1}`)
            .join(', ')}]`,
    );
    expect(problems(levels.join('\n'))).toEqual([
      '1:1: the aliases (*NAME) stand for more than a configuration may hold',
    ]);
  });

  it('an alias of itself', () => {
    expect(problems('uplinks: &a { eth1: *a }')).toHaveLength(1);
  });

  it.each([
    ['flow', (depth: number) => '['.repeat(depth)],
    ['closed flow', (depth: number) => `${'['.repeat(depth)}${']'.repeat(depth)}`],
    ['mappings', (depth: number) => `${'{a: '.repeat(depth)}${'}'.repeat(depth)}`],
    ['block', (depth: number) => '- '.repeat(depth)],
  ])('deep nesting: %s', { timeout: 60_000 }, (_, nested) => {
    for (const depth of [200, 20_000]) {
      const found = problems(nested(depth));
      expect(found.length).toBeGreaterThan(0);
      expect(found.length).toBeLessThan(52);
    }
    expect(problems(nested(20_000))).toEqual([
      expect.stringMatching(/^1:\d+: nested too deeply for a configuration$/),
    ]);
  });
});

describe('any text', () => {
  it('is a configuration or has problems, never anything else', () => {
    const word = fc.constantFrom(
      ...'uplinks ports eth1 on-exit keep limits : - [ ] { } , " \' & * ! | > # \n  0 1 ~ true profiles rules match'.split(
        ' ',
      ),
      '\n  ',
      ' ',
      '\t',
      '\0',
    );
    const text = fc.oneof(
      fc.array(word, { maxLength: 40 }).map((words) => words.join('')),
      fc.string(),
    );
    fc.assert(
      fc.property(text, (each) => {
        problems(each);
      }),
      { numRuns: 2000 },
    );
  });
});

describe('the file', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'evbd-config-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const file = (content: string | Uint8Array) => {
    const path = join(folder, 'evbd.yaml');
    writeFileSync(path, content);
    return path;
  };
  const refusal = (path: string) => {
    try {
      loadConfig(path);
    } catch (error) {
      if (error instanceof ConfigError) return error.problems;
      throw error;
    }
    return [];
  };

  it('is read', () => {
    expect(loadConfig(file('\ufeffuplinks: { eth1: {} }'))).toEqual(parseConfig('uplinks: { eth1: {} }', ''));
  });

  it('may come through a pipe', () => {
    const evbd = new URL('../../dist/src/evbd.js', import.meta.url).pathname;
    const command = 'echo on-exit: no | "$0" "$1" --check --config /dev/stdin';
    const { status, stderr } = spawnSync('sh', ['-c', command, process.execPath, evbd], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({
      status: 78,
      stderr: expect.stringMatching(/\/dev\/stdin:1:10: on-exit: expected .*\n$/),
    });
  });

  it('is not there, is a directory, lies beneath a file, is a loop of names', () => {
    const mend = 'name a configuration with --config FILE';
    expect(refusal(join(folder, 'x'))).toEqual([`${folder}/x: no such file; ${mend}`]);
    expect(refusal(folder)).toEqual([`${folder}: is a directory, not a file; ${mend}`]);
    const path = file('');
    expect(refusal(`${path}/x`)).toEqual([`${path}/x: a part of the path is no directory; ${mend}`]);
    expect(refusal(`${folder}/${'n'.repeat(300)}`)).toEqual([
      expect.stringContaining(': cannot be read (ENAMETOOLONG); '),
    ]);
    expect(refusal('/proc/self/mem')).toEqual([expect.stringMatching(/: cannot be read \(E[A-Z]+\); /)]);
  });

  it('is spoken of without the options of evbd where others quote it, as the reply to Reload does', () => {
    expect(() => loadConfig(join(folder, 'x'))).toThrow(/: no such file$/);
  });

  it('is too long', () => {
    const path = file('');
    truncateSync(path, 100 * 1024 * 1024);
    const problem = 'more than 1 MiB, which is no configuration; name one with --config FILE';
    expect(refusal(path)).toEqual([`${path}: ${problem}`]);
    expect(refusal('/dev/zero')).toEqual([`/dev/zero: ${problem}`]);
    expect(refusal(file(`#${'x'.repeat(1024 * 1024 - 1)}`))).toEqual([]);
    expect(refusal(file(`#${'x'.repeat(1024 * 1024)}`))).toHaveLength(1);
  });

  it('is no text', () => {
    const path = file(Uint8Array.of(0x6f, 0x0a, 0x7f, 0xff, 0xfe, 0));
    expect(refusal(path)).toEqual([`${path}:2:2: no UTF-8 text`]);
  });
});
