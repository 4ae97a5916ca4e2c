/** What /proc and the configurations of other agents say, as recorded from the programs themselves. */

import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseCapabilities } from '../../src/capabilities.ts';
import { isEvbd, lldpadTransmits, networkdTransmits } from '../../src/doctor/agents.ts';
import { callOf } from '../../src/doctor/gather.ts';
import { lldpduOf } from '../../src/doctor/listen.ts';
import {
  listWithin,
  parseAge,
  parseDuplicate,
  parseGroups,
  parsePacketSockets,
  parseUnixSockets,
  parseUser,
  parseUserId,
  processOf,
  readLink,
  readText,
  readWithin,
} from '../../src/doctor/procfs.ts';
import { quoted } from '../../src/shell.ts';

describe('/proc', () => {
  it('packet sockets', () => {
    const text = `sk               RefCnt Type Proto  Iface R Rmem   User   Inode
00000000437ea80c 3      3    0003   2     1 0      0      3887929
0000000082575f57 3      3    88cc   0     1 0      998    3888769
`;
    expect(parsePacketSockets(text)).toEqual([
      { etherType: 0x0003, interfaceIndex: 2, inode: '3887929' },
      { etherType: 0x88cc, interfaceIndex: 0, inode: '3888769' },
    ]);
  });

  it('group addresses of one interface', () => {
    const text = `2    eth1            1     0     333300000001
2    eth1            3     0     0180c2000000
12   eth2            1     0     0180c200000e
`;
    expect(parseGroups(text, 2)).toEqual(['33:33:00:00:00:01', '01:80:c2:00:00:00']);
    expect(parseGroups(text, 12)).toEqual(['01:80:c2:00:00:0e']);
  });

  it('the control socket of lldpad', () => {
    const text = `Num       RefCount Protocol Flags    Type St Inode Path
0000000027938440: 00000002 00000000 00000000 0002 01 3879501 @/com/intel/lldpad
00000000c2892efa: 00000003 00000000 00000000 0001 03 3889772
`;
    expect(parseUnixSockets(text, '@/com/intel/lldpad')).toEqual(['3879501']);
    expect(parseUnixSockets(text, '@/com/intel')).toEqual([]);
  });

  it('addresses whose duplicate address detection failed', () => {
    const line = (flags: string) => `fe800000000000000000000000000001 0a 40 20 ${flags}     eth1\n`;
    expect(parseDuplicate(line('80'), 10)).toBe(false);
    expect(parseDuplicate(line('c8'), 10)).toBe(true);
    expect(parseDuplicate(line('c8'), 11)).toBe(false);
  });

  it('capabilities', () => {
    const of = (effective: string) => parseCapabilities(`Name:\tnode\nCapEff:\t${effective}\n`);
    expect(of('000001ffffffffff')).toEqual({ admin: true, raw: true, broadcast: true, system: true });
    expect(of('0000000000002000')).toEqual({ admin: false, raw: true, broadcast: false, system: false });
    expect(of('0000000000001800')).toEqual({ admin: true, raw: false, broadcast: true, system: false });
    expect(of('0000000000200000')).toMatchObject({ raw: false, system: true });
    expect(parseCapabilities(undefined)).toBeUndefined();
  });

  it('the age of a process, whatever its name', () => {
    const stat = `7 (a) b (c)) S ${Array.from({ length: 18 }, (_, i) => i).join(' ')} 12345 0`;
    expect(parseAge(stat, '200.50 1.0')).toBeCloseTo(77.05);
    expect(parseAge(undefined, '200')).toBeUndefined();
  });

  it('the real user of a process, not the one that a setuid bit lends', () => {
    expect(parseUser('Name:\tUid:\t0\nUid:\t1000\t0\t0\t0\nGid:\t0\t0\t0\t0\n')).toBe(1000);
    expect(parseUser('Uid:\t0\t0\t0\t0\n')).toBe(0);
    expect(parseUser(undefined)).toBeUndefined();
    expect(processOf(process.pid)?.user).toBe(process.getuid!());
    const passwd = 'root:x:0:0:root:/root:/bin/sh\nevbd:x:998:997::/:/bin/false\nodd:x::\n';
    expect(['root', 'evbd', 'odd', 'evb'].map((name) => parseUserId(passwd, name))).toEqual([
      0,
      998,
      undefined,
      undefined,
    ]);
  });

  it('what is no file is not read', () => {
    expect(readText('/proc/self/ns/net')).toBeUndefined();
    expect(readText('/dev/zero')).toBeUndefined();
    expect(readText('/proc/self')).toBeUndefined();
    expect(readText('/proc/self/comm')).toMatch(/\n$/);
  });
});

describe('files of a process, which may be made to mislead', () => {
  const outside = mkdtempSync(`${tmpdir()}/evbd-doctor-`);
  const root = `${outside}/root`;
  const read = (path: string) => readWithin(root, path);
  beforeAll(() => {
    mkdirSync(`${root}/etc/conf.d`, { recursive: true });
    mkdirSync(`${root}/usr/lib`, { recursive: true });
    writeFileSync(`${outside}/secret`, 'secret');
    writeFileSync(`${root}/etc/file`, 'file');
    writeFileSync(`${root}/usr/lib/library`, 'library');
    writeFileSync(`${root}/long`, Buffer.alloc(3 * 1024 * 1024, 'x'));
    for (let i = 0; i < 10; i++) writeFileSync(`${root}/etc/conf.d/${i}`, '');
    const links = {
      lib: 'usr/lib',
      absolute: '/etc/file',
      up: '../../../../etc/file',
      away: `${outside}/secret`,
      loop: 'loop',
      zero: '/dev/zero',
      folder: outside,
      'etc/near': '../lib/library',
      'etc/out': '../../secret',
    };
    for (const [link, target] of Object.entries(links)) symlinkSync(target, `${root}/${link}`);
    execFileSync('mkfifo', [`${root}/pipe`]);
  });
  afterAll(() => rmSync(outside, { recursive: true }));

  it.each([
    ['/etc/file', 'file'],
    ['etc/../etc/./file', 'file'],
    ['/../../etc/file', 'file'],
    ['/lib/library', 'library'],
    ['/absolute', 'file'],
    ['/up', 'file'],
    ['/etc/near', 'library'],
    // From here each of these would lead to something.
    ['/away', undefined],
    ['/etc/out', undefined],
    ['/../secret', undefined],
    ['/folder/secret', undefined],
    ['/loop', undefined],
    ['/zero', undefined],
    ['/pipe', undefined],
    ['/etc', undefined],
    ['/missing', undefined],
  ])('%s is %s', (path, text) => {
    expect(read(path)).toBe(text);
  });

  it('no more than fits, and nothing that is not stored', () => {
    expect(read('/long')).toHaveLength(1024 * 1024);
    expect(readWithin('/', '/proc/self/comm')).toBeUndefined();
    expect(readWithin('/', `/proc/${process.pid}/comm`)).toBeUndefined();
    expect(readWithin('/', '/sys/kernel/uevent_seqnum')).toBeUndefined();
    expect(readWithin('/', '/dev/null')).toBeUndefined();
  });

  it('a folder with more than was to be is not listed in part', () => {
    expect(listWithin(root, '/etc/conf.d', 10)?.sort()).toEqual([...'0123456789']);
    expect(listWithin(root, '/etc/conf.d', 9)).toBeUndefined();
    expect(listWithin(root, '/folder', 10)).toEqual([]);
    expect(listWithin(root, '/missing', 10)).toEqual([]);
  });

  it('nothing stays open', () => {
    const open = () =>
      readdirSync('/proc/self/fd').filter((fd) => readLink(`/proc/self/fd/${fd}`)?.startsWith(outside));
    for (const path of ['/etc/near', '/loop', '/zero', '/missing', '/up', '/etc/out']) read(path);
    listWithin(root, '/etc/conf.d', 3);
    expect(open()).toEqual([]);
  });

  it('what is a link where /proc has none is not followed', () => {
    expect(readText(`${root}/absolute`)).toBeUndefined();
    expect(readText(`${root}/etc/file`)).toBe('file');
  });
});

const LLDPAD = `dcbx : 
{
  version = "1.0";
};
nearest_customer_bridge : 
{
  eth10 : 
  {
    adminStatus = 3;
  };
  eth1 : 
  {
    tlvid00000001 : 
    {
      info = "0476E92AC341E6";
    };
    adminStatus = 0;
    tlvid0080c20d : 
    {
      enableTx = true;
    };
  };
  eth2 : 
  {
    adminStatus = 1;
  };
  eth3 : 
  {
    adminStatus = 2;
  };
  eth4 : 
  {
  };
};
lldp : 
{
  eth1 : 
  {
    adminStatus = 3;
  };
};
`;

describe('other agents', () => {
  it.each([
    ['eth1', 'customer-bridge', false],
    ['eth1', 'nearest-bridge', true],
    ['eth10', 'customer-bridge', true],
    ['eth2', 'customer-bridge', true],
    ['eth3', 'customer-bridge', false],
    ['eth4', 'customer-bridge', false],
    ['eth5', 'customer-bridge', false],
    ['eth2', 'nearest-bridge', false],
  ] as const)('lldpad on %s to the %s address', (link, scope, transmits) => {
    expect(lldpadTransmits(LLDPAD, link, scope)).toBe(transmits);
  });

  it.each([
    ['[Network]\nEmitLLDP=yes', false, true],
    ['[Network]\nEmitLLDP=customer-bridge', true, false],
    ['[Network]\n EmitLLDP = customer-bridge', true, false],
    ['[Network]\n#EmitLLDP=customer-bridge', false, false],
    ['[Link]\nEmitLLDP=customer-bridge', false, false],
    ['[Network]\nLLDP=yes', false, false],
    ['[Network]\nEmitLLDP=customer-bridge\nEmitLLDP=no', false, false],
  ])('networkd with %j', (text, customer, nearest) => {
    const of = (scope: 'customer-bridge' | 'nearest-bridge') =>
      networkdTransmits([{ path: '/a.network', text }], scope).transmits;
    expect([of('customer-bridge'), of('nearest-bridge')]).toEqual([customer, nearest]);
  });

  it.each([
    ['/usr/bin/evbd --config x', true],
    ['node /opt/evbd/dist/src/evbd.js --bus none', true],
    ['/usr/bin/node --no-warnings /usr/bin/evbd', true],
    ['node /opt/evbd/dist/src/cli/evbctl.js doctor', false],
    ['vim /etc/evbd', false],
    ['systemctl status evbd', false],
    ['node x.js evbd.js', false],
    ['', false],
  ])('evbd is known by its command line: %j', (line, is) => {
    expect(isEvbd({ args: line.split(' ') })).toBe(is);
  });

  it('networkd: the drop-in has the last word, and is named', () => {
    const texts = [
      { path: '/a.network', text: '[Network]\nEmitLLDP=no' },
      { path: '/a.network.d/b.conf', text: '[Network]\nEmitLLDP=customer-bridge' },
    ];
    expect(networkdTransmits(texts, 'customer-bridge')).toEqual({
      transmits: true,
      file: '/a.network.d/b.conf',
    });
  });
});

describe('how a program is called', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'evbd-doctor-'));
    for (const place of ['bin', 'node_modules/.bin']) {
      mkdirSync(join(folder, place), { recursive: true });
      writeFileSync(join(folder, place, 'evbctl'), '', { mode: 0o755 });
      writeFileSync(join(folder, place, 'evbd'), '', { mode: 0o644 });
    }
  });
  afterAll(() => rmSync(folder, { recursive: true }));
  const source = (name: string) => fileURLToPath(new URL(`../../src/${name}.ts`, import.meta.url));

  it('by its name where that leads to it', () => {
    expect(callOf('evbctl', true, `/usr/bin:${folder}/bin`)).toBe('evbctl');
  });

  it.each([
    ['there is none', 'evbctl', true, '/nowhere:', 'cli/evbctl'],
    ['it is none of a program', 'evbd', true, 'bin', 'evbd'],
    ['npx has put it there', 'evbctl', true, 'node_modules/.bin', 'cli/evbctl'],
    ['sudo does not look there', 'evbctl', false, 'bin', 'cli/evbctl'],
  ] as const)('by its file where %s', (_why, program, root, path, file) => {
    const shown = path.startsWith('/') ? path : join(folder, path);
    expect(callOf(program, root, shown)).toBe(`${quoted(process.execPath)} ${quoted(source(file))}`);
  });
});

it('frames that are no LLDP, or broken, are not heard', () => {
  expect(lldpduOf(new Uint8Array(60))).toBeUndefined();
  expect(lldpduOf(new Uint8Array(3))).toBeUndefined();
});
