/** Each fault made for real, as far as the kernel lets: doctor names it, and what it tells to do, done literally, ends it. */

import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { LLDPAD_PROGRAMS, Lldpad } from '../support/lldpad.ts';
import { findProgram, needs } from '../support/needs.ts';
import { eventually, Host, type Outcome, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge', 'dbus-daemon', 'sysctl'] });
const dist = fileURLToPath(new URL('../../dist/src/', import.meta.url));
const TIMEOUT = 120_000;
const NETWORKD = '/lib/systemd/systemd-networkd';

const UPLINK = `
uplinks: { eth1: { slaves: auto } }
profiles: { web: { manager: 1, type: 1, type-version: 1, vlan: 10 } }
rules: [{ match: { mac: "52:54:00:*" }, profile: web }]
`;
const PORT = 'ports: { swp1: { enforce: on } }';

interface Told {
  name: string;
  link: string;
  result: string;
  text: string;
  mend: string;
}

let world: World;
let station: Host;
let bridge: Host;
let shims: string;

beforeEach(async () => {
  if (!ready) return;
  world = await World.wired();
  station = await Host.create(world, 'sta', UPLINK);
  bridge = await Host.create(world, 'br', PORT);
  // The commands of a mend, as an administrator has them.
  shims = `${world.folder}/bin`;
  mkdirSync(shims);
  const shim = (name: string, command: string) =>
    writeFileSync(`${shims}/${name}`, `#!/bin/sh\nexec ${command} "$@"\n`, { mode: 0o755 });
  shim('evbctl', `${process.execPath} ${dist}cli/evbctl.js`);
  shim(
    'evbd',
    `${process.execPath} ${dist}evbd.js --state-dir ${world.folder}/s --runtime-dir ${world.folder}/r`,
  );
  shim('sudo', '');
});
afterEach(() => world?.end());

const namespaceOf = (host: Host) => (host === station ? 'sta' : 'br');

async function doctor(host: Host, ...args: string[]): Promise<{ status: number | null; checks: Told[] }> {
  const { status, stdout, stderr } = await host.evbctl('doctor', '--json', '--config', host.file, ...args);
  if (stdout === '') throw new Error(`evbctl doctor ended with ${status}: ${stderr}`);
  return { status, checks: JSON.parse(stdout).checks };
}

const worse = (checks: readonly Told[]) => checks.filter(({ result }) => !['ok', 'info'].includes(result));
const brief = (checks: readonly Told[]) =>
  checks.map(({ name, link, result }) => `${result} ${name} ${link}`.trim());

/** The one finding of a check on a link. */
async function finding(host: Host, name: string, link = ''): Promise<Told> {
  const { checks } = await doctor(host);
  const found = checks.filter((each) => each.name === name && each.link === link);
  if (found.length !== 1) throw new Error(`${name} of ${link}: ${JSON.stringify(checks)}`);
  return found[0]!;
}

async function becomes(host: Host, name: string, link: string, ...results: string[]): Promise<void> {
  await eventually(
    async () => (await doctor(host)).checks.filter((each) => each.name === name && each.link === link),
    (found) => found.every(({ result }) => results.includes(result)),
    `${name} of ${link} becomes ${results}`,
  );
}

/** What a person does who trusts doctor. */
function paste(host: Host, command: string): Promise<Outcome> {
  const path = `PATH=${shims}:${process.env['PATH']}:/usr/sbin:/sbin`;
  return world.run(namespaceOf(host), 'env', path, 'sh', '-c', command);
}

async function mend(host: Host, told: Told): Promise<void> {
  const { status, stderr } = await paste(host, told.mend);
  expect({ mend: told.mend, status, stderr }).toMatchObject({ status: 0 });
}

async function start(): Promise<void> {
  await bridge.start();
  await station.start();
  await station.must('wait', 'eth1', 'relay');
}

const inSta = (...command: string[]) => world.in('sta', ...command);
const inBr = (...command: string[]) => world.in('br', ...command);

async function guest(name = 'tap0', mode = 'vepa', address = '52:54:00:00:00:01'): Promise<void> {
  inSta(
    'ip',
    'link',
    'add',
    'link',
    'eth1',
    'name',
    name,
    'address',
    address,
    'type',
    'macvtap',
    'mode',
    mode,
  );
}

describe.runIf(ready)('evbctl doctor', { timeout: TIMEOUT }, () => {
  it('has nothing to say against what works, on either side', async () => {
    await start();
    await guest();
    await eventually(
      () => station.vsis(),
      (vsis) => vsis[0]?.state === 'associated',
      'associated',
    );
    for (const host of [station, bridge]) {
      const { status, checks } = await doctor(host);
      expect({ status, worse: worse(checks) }).toEqual({ status: 0, worse: [] });
      expect(brief(checks)).toContain('ok daemon');
      expect(brief(checks)).toContain(`ok relay ${host === station ? 'eth1' : 'swp1'}`);
    }
    expect(brief((await doctor(station)).checks)).toContain('info host-to-guest eth1');
    const text = await station.evbctl('doctor', '--config', station.file, 'eth1');
    expect(text.status).toBe(0);
    expect(text.stdout).toMatch(/ \d+ ok \(--verbose shows all\)\n$/);
  });

  it('without a daemon: says so, and starts it as it says', async () => {
    const told = await finding(station, 'daemon');
    expect(told).toMatchObject({
      result: 'problem',
      text: expect.stringContaining('evbd is not on the bus'),
    });
    expect((await doctor(station)).status).toBe(1);
    expect(told.mend).toMatch(/^(sudo )?evbd --config /);
    const evbd = world.start('sta', [
      'env',
      `PATH=${shims}:${process.env['PATH']}`,
      'sh',
      '-c',
      `exec ${told.mend}`,
    ]);
    await becomes(station, 'daemon', '', 'ok');
    evbd.kill('SIGTERM');
  });

  it('without a daemon: listens for the neighbour where it is told to', async () => {
    expect(await finding(station, 'neighbour', 'eth1')).toMatchObject({
      result: 'unknown',
      mend: expect.stringContaining('doctor --config'),
    });
    const one = async () =>
      (await doctor(station, '--listen', '2', 'eth1')).checks.find(({ name }) => name === 'neighbour');
    expect(await one()).toMatchObject({ result: 'problem', text: 'no LLDP was heard within 2 seconds' });
    bridge.configure('ports: { swp1: { evb: false, lldp: { tx-interval: 1 } } }');
    await bridge.start();
    expect(await one()).toMatchObject({ result: 'problem', text: expect.stringContaining('but no EVB TLV') });
    bridge.configure('ports: { swp1: { lldp: { tx-interval: 1 } } }');
    await bridge.must('reload');
    expect(await one()).toMatchObject({ result: 'ok', text: expect.stringContaining('speaks EVB') });
  });

  it('an evbd that is on another bus, or none, is found all the same', async () => {
    await station.start();
    const elsewhere = await Host.create(world, 'sta', UPLINK);
    const told = await finding(elsewhere, 'daemon');
    expect(told).toMatchObject({
      result: 'problem',
      text: expect.stringContaining(`process ${station.pid}`),
    });
    expect(told.mend).toContain(station.bus);
    const { stdout } = await paste(station, `${told.mend} --json`);
    expect(brief(JSON.parse(stdout).checks)).toContain('ok daemon');
  });

  it('an evbd in another network namespace is not judged by the interfaces here', async () => {
    await station.start();
    const { stdout } = await world.run(
      'br',
      ...[process.execPath, `${dist}cli/evbctl.js`, '--bus', station.bus, 'doctor', '--json'],
      ...['--config', station.file],
    );
    const { checks }: { checks: Told[] } = JSON.parse(stdout);
    const told = checks.find(({ name }) => name === 'namespace')!;
    expect(told.result).toBe('unknown');
    expect(checks.filter(({ link }) => link !== '')).toEqual([]);
    const there = await world.run(
      'br',
      'env',
      `PATH=${shims}:${process.env['PATH']}`,
      'sh',
      '-c',
      `${told.mend} --json`,
    );
    expect(brief(JSON.parse(there.stdout).checks)).toContain('ok interface eth1');
  });

  describe('configuration', () => {
    it('that is wrong is told as evbd --check tells it', async () => {
      station.configure('uplinks:\n  eth1: { speed: 1 }\n');
      expect(await finding(station, 'configuration')).toMatchObject({
        result: 'problem',
        text: `${station.file}:2:11: uplinks.eth1.speed: unknown key`,
      });
    });

    it('that evbd has not read again', async () => {
      await start();
      station.configure(UPLINK.replace('uplinks: {', 'uplinks: { lo: { evb: false },'));
      const told = await finding(station, 'configuration');
      expect(told).toMatchObject({
        result: 'warning',
        text: expect.stringContaining('evbd does not know lo'),
      });
      await mend(station, told);
      await becomes(station, 'configuration', '', 'ok');
    });

    it('that is not there', async () => {
      const { stdout } = await station.evbctl('doctor', '--json', '--config', '/nowhere.yaml');
      expect(JSON.parse(stdout).checks).toContainEqual(
        expect.objectContaining({
          name: 'configuration',
          result: 'problem',
          text: 'there is no /nowhere.yaml',
        }),
      );
    });
  });

  it('a link that is neither configured nor there is a wrong argument', async () => {
    const { status, stderr } = await station.evbctl('doctor', '--config', station.file, 'eth9');
    expect({ status, stderr }).toEqual({
      status: 2,
      stderr: 'evbctl doctor: there is no link eth9, neither configured nor in the kernel\n',
    });
  });

  it.runIf(process.getuid?.() === 0 && needs({ programs: ['setpriv'] }))(
    'a user without rights is told of that, and not shown a stack',
    async () => {
      const file = `/tmp/evbd-doctor-${process.pid}.yaml`;
      writeFileSync(file, UPLINK);
      const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
      const command = [
        process.execPath,
        `${dist}cli/evbctl.js`,
        '--bus',
        station.bus,
        'doctor',
        '--json',
        '--config',
        file,
      ];
      const { status, stdout, stderr } = await world.run('sta', ...asNobody, ...command, '--listen', '1');
      expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
      const { checks }: { checks: Told[] } = JSON.parse(stdout);
      const told = checks.find(({ name }) => name === 'permissions')!;
      expect(told).toMatchObject({ result: 'problem', text: expect.stringContaining('CAP_NET_RAW') });
      expect(checks.find(({ name }) => name === 'neighbour')).toMatchObject({
        result: 'unknown',
        text: expect.stringContaining('CAP_NET_RAW'),
      });
      const asRoot = await paste(station, `${told.mend} --json`);
      expect(JSON.parse(asRoot.stdout).checks).toContainEqual(
        expect.objectContaining({ name: 'permissions', result: 'ok' }),
      );
    },
  );

  describe('the interface', () => {
    it('is missing', async () => {
      station.configure(UPLINK.replace('eth1', 'eth9'));
      expect(await finding(station, 'interface', 'eth9')).toMatchObject({
        result: 'problem',
        text: 'there is no such interface',
        mend: expect.stringContaining('eth1'),
      });
    });

    it('is down', async () => {
      await start();
      inSta('ip', 'link', 'set', 'eth1', 'down');
      const told = await finding(station, 'interface', 'eth1');
      expect(told).toMatchObject({ result: 'problem', text: 'it is down' });
      await mend(station, told);
      await station.must('wait', 'eth1', 'relay');
      expect(worse((await doctor(station)).checks)).toEqual([]);
    });

    it('has no carrier', async () => {
      inBr('ip', 'link', 'set', 'swp1', 'down');
      expect(await finding(station, 'interface', 'eth1')).toMatchObject({
        result: 'problem',
        text: 'it has no carrier',
      });
    });

    it('is in a bridge', async () => {
      await start();
      inSta('ip', 'link', 'add', 'br9', 'type', 'bridge');
      inSta('ip', 'link', 'set', 'eth1', 'master', 'br9');
      const told = await finding(station, 'uplink', 'eth1');
      expect(told).toMatchObject({ result: 'problem', text: 'it is a port of the Linux bridge br9' });
      // What doctor says of it is true.
      expect(() => inSta('ip', 'link', 'add', 'link', 'eth1', 'name', 'x', 'type', 'macvlan')).toThrow();
      await mend(station, told);
      await becomes(station, 'uplink', 'eth1', 'ok');
    });

    it('has a small MTU, so that frames are not sent', async () => {
      await start();
      inSta('ip', 'link', 'set', 'eth1', 'mtu', '576');
      const told = await finding(station, 'mtu', 'eth1');
      expect(told).toMatchObject({ result: 'warning', text: 'its MTU is 576' });
      await mend(station, told);
      await becomes(station, 'mtu', 'eth1', 'ok');
    });

    it('would take its own IPv6 addresses for duplicates', async () => {
      await start();
      for (const which of ['all', 'eth1'])
        inSta('sh', '-c', `echo 0 > /proc/sys/net/ipv6/conf/${which}/enhanced_dad`);
      const told = await finding(station, 'ipv6-dad', 'eth1');
      expect(told).toMatchObject({ result: 'warning', text: 'enhanced_dad is off' });
      // Hairpin is on: the address that comes now fails.
      inSta('ip', 'address', 'add', '2001:db8::1/64', 'dev', 'eth1');
      await becomes(station, 'ipv6-dad', 'eth1', 'problem');
      await mend(station, told);
      inSta('ip', 'address', 'del', '2001:db8::1/64', 'dev', 'eth1');
      inSta('ip', 'address', 'add', '2001:db8::1/64', 'dev', 'eth1');
      await eventually(
        () => inSta('ip', '-6', 'address', 'show', 'dev', 'eth1', 'tentative'),
        (shown) => !shown.includes('2001:db8'),
        'duplicate address detection ends',
      );
      expect(await finding(station, 'ipv6-dad', 'eth1')).toMatchObject({ result: 'ok' });
    });
  });

  describe('another agent', () => {
    it.runIf(needs({ programs: LLDPAD_PROGRAMS }))(
      'lldpad with EVB is a rival, idle it is none',
      async () => {
        await start();
        await Lldpad.start(world, 'sta', 'eth1', ['evbmode=station']);
        const told = await finding(station, 'lldp-agent', 'eth1');
        expect(told).toMatchObject({
          result: 'problem',
          text: expect.stringMatching(/^lldpad \(process \d+\)/),
        });
        await mend(station, told);
        await becomes(station, 'lldp-agent', 'eth1', 'ok');
        expect((await finding(station, 'lldp-agent', 'eth1')).text).toContain('lldpad');
        await station.must('wait', 'eth1', 'relay');
        await becomes(station, 'relay', 'eth1', 'ok');
        await becomes(bridge, 'relay', 'swp1', 'ok');
      },
    );

    it('a second evbd', async () => {
      await start();
      const second = await Host.create(world, 'sta', UPLINK);
      await second.start();
      const told = await finding(station, 'lldp-agent', 'eth1');
      expect(told).toMatchObject({ result: 'problem', mend: `kill ${second.pid}` });
      await mend(station, told);
      await becomes(station, 'lldp-agent', 'eth1', 'ok');
    });

    it('that hears LLDP, of which nothing is known', async () => {
      await start();
      const program =
        'import socket,sys;s=socket.socket(17,3,socket.htons(0x88cc));s.bind(("eth1",0x88cc));print("on",flush=True);sys.stdin.read()';
      const stranger = world.start('sta', ['python3', '-c', program], {}, 'pipe');
      await new Promise((resolve) => stranger.stdout!.once('data', resolve));
      expect(await finding(station, 'lldp-agent', 'eth1')).toMatchObject({
        result: 'warning',
        text: expect.stringMatching(/^python3 \(process \d+\) takes LLDP too/),
      });
    });

    it.runIf(existsSync(NETWORKD) && process.getuid?.() === 0)('systemd-networkd, if it sends', async () => {
      await start();
      const folder = '/run/systemd/network';
      const network = '[Match]\\nName=eth1\\n[Network]\\nLinkLocalAddressing=no\\nEmitLLDP=';
      const write = (value: string) => `printf '${network}${value}\\n' > ${folder}/10-eth1.network`;
      // Its own /run and a /sys of this namespace, as it has them in a container; without udev it waits for none.
      const setUp = [
        `mkdir -p ${folder} /run/systemd/netif/links`,
        'chown -R systemd-network /run/systemd/netif',
        'mount --make-rprivate /',
        'mount -t sysfs -o ro sysfs /sys',
        write('customer-bridge'),
        `exec ${NETWORKD}`,
      ];
      world.start('sta', ['sh', '-c', setUp.join(' && ')]);
      await becomes(station, 'lldp-agent', 'eth1', 'problem');
      const told = await finding(station, 'lldp-agent', 'eth1');
      expect(told.mend).toContain(`EmitLLDP=no under [Network] in ${folder}/10-eth1.network`);
      inSta('sh', '-c', write('no'));
      await becomes(station, 'lldp-agent', 'eth1', 'ok');
    });
  });

  describe('the neighbour', () => {
    it('is not there', async () => {
      await station.start();
      const told = await finding(station, 'neighbour', 'eth1');
      expect(told).toMatchObject({
        result: 'problem',
        text: expect.stringContaining('nothing at all was heard'),
      });
      await bridge.start();
      await station.must('wait', 'eth1', 'relay');
      expect(await finding(station, 'neighbour', 'eth1')).toMatchObject({ result: 'ok' });
    });

    it('speaks LLDP and no EVB', async () => {
      bridge.configure('ports: { swp1: { evb: false } }');
      await bridge.start();
      await station.start();
      await becomes(station, 'neighbour', 'eth1', 'problem');
      await eventually(
        () => finding(station, 'neighbour', 'eth1'),
        ({ text }) => text.startsWith('LLDP is heard, but no EVB peer'),
        'LLDP is heard',
      );
    });

    it('speaks to the nearest bridge only', async () => {
      bridge.configure('ports: { swp1: { interop: { lldp-scope: nearest-bridge } } }');
      await bridge.start();
      await station.start();
      await eventually(
        () => finding(station, 'neighbour', 'eth1'),
        ({ text }) => text.startsWith('only frames for other groups are heard'),
        'LLDP is heard',
      );
    });

    it('refuses relay', async () => {
      bridge.configure('ports: { swp1: { reflective-relay: deny } }');
      await bridge.start();
      await station.start();
      await station.must('wait', 'eth1', 'negotiated');
      expect(await finding(station, 'relay', 'eth1')).toMatchObject({
        result: 'problem',
        text: expect.stringContaining('no RRCAP'),
      });
      bridge.configure(PORT);
      await bridge.must('reload');
      await station.must('wait', 'eth1', 'relay');
      expect(await finding(station, 'relay', 'eth1')).toMatchObject({ result: 'ok' });
    });

    it('is not spoken to, for the link was released', async () => {
      await start();
      await station.must('release', 'eth1');
      const told = await finding(station, 'neighbour', 'eth1');
      expect(told).toMatchObject({ result: 'problem', text: expect.stringContaining('released') });
      await mend(station, told);
      await station.must('wait', 'eth1', 'relay');
    });
  });

  describe('the bridge port', () => {
    it('is in no bridge', async () => {
      inBr('ip', 'link', 'set', 'swp1', 'nomaster');
      await start().catch(() => {});
      const told = await finding(bridge, 'bridge', 'swp1');
      expect(told).toMatchObject({ result: 'problem', text: 'it is in no Linux bridge' });
      await mend(bridge, told);
      await station.must('wait', 'eth1', 'relay');
      expect(worse((await doctor(bridge)).checks)).toEqual([]);
    });

    it('is in no bridge, and there is none', async () => {
      inBr('ip', 'link', 'del', 'br0');
      await mend(bridge, await finding(bridge, 'bridge', 'swp1'));
      await becomes(bridge, 'bridge', 'swp1', 'ok');
    });

    it('has a bridge that is down', async () => {
      await start();
      inBr('ip', 'link', 'set', 'br0', 'down');
      const told = await finding(bridge, 'bridge', 'swp1');
      expect(told).toMatchObject({ result: 'problem', text: 'its bridge br0 is down' });
      await mend(bridge, told);
      await becomes(bridge, 'bridge', 'swp1', 'ok');
    });

    it('is isolated', async () => {
      inBr('bridge', 'link', 'set', 'dev', 'swp1', 'isolated', 'on');
      await start();
      const told = await finding(bridge, 'isolated', 'swp1');
      expect(told).toMatchObject({ result: 'problem', text: 'it is isolated' });
      await mend(bridge, told);
      await becomes(bridge, 'isolated', 'swp1', 'ok');
      expect(worse((await doctor(bridge)).checks)).toEqual([]);
    });

    it('leaks', async () => {
      inBr('ip', 'link', 'add', 'swp2', 'type', 'veth', 'peer', 'name', 'other');
      for (const name of ['swp2', 'other']) inBr('ip', 'link', 'set', name, 'up');
      inBr('ip', 'link', 'set', 'swp2', 'master', 'br0');
      await start();
      const told = await finding(bridge, 'leak', 'swp1');
      expect(told).toMatchObject({
        result: 'problem',
        text: expect.stringContaining('EVB frames leak to swp2'),
      });
      await mend(bridge, told);
      await becomes(bridge, 'leak', 'swp1', 'ok');
      await becomes(bridge, 'bridge', 'swp1', 'ok', 'info');
      expect(worse((await doctor(bridge)).checks)).toEqual([]);
    });
  });

  describe('slaves', () => {
    it('in bridge mode', async () => {
      await start();
      await guest('tap0', 'bridge');
      await becomes(station, 'slave-mode', 'eth1', 'warning');
      const told = await finding(station, 'slave-mode', 'eth1');
      expect(told.text).toBe('tap0 (bridge) not in VEPA mode');
      inSta('ip', 'link', 'set', 'tap0', 'up');
      await mend(station, told);
      await becomes(station, 'slave-mode', 'eth1', 'ok');
    });

    it('that no rule matches', async () => {
      await start();
      await guest('tap0', 'vepa', '52:99:00:00:00:01');
      await becomes(station, 'slave-vsi', 'eth1', 'warning');
      const { text, mend: told } = await finding(station, 'slave-vsi', 'eth1');
      expect(text).toBe('tap0 without VSI: no rule matches it');
      const rule = /"(rules: .*)" in/.exec(told)![1]!.replace('NAME', 'web');
      station.configure(UPLINK.replace(/rules:.*/, rule));
      await station.must('reload');
      await becomes(station, 'slave-vsi', 'eth1', 'ok');
    });

    it('with the address of the uplink', async () => {
      await start();
      const { mac } = await station.link('eth1');
      await guest('tap0', 'vepa', mac);
      expect(() => inSta('ip', 'link', 'set', 'tap0', 'up')).toThrow();
      const told = await finding(station, 'slave-address', 'eth1');
      expect(told).toMatchObject({ result: 'warning', text: 'tap0 has the address of eth1 itself' });
      await mend(station, told);
      inSta('ip', 'link', 'set', 'tap0', 'up');
      await becomes(station, 'slave-address', 'eth1', 'ok');
    });

    it('of the host itself are what it needs to reach its guests', async () => {
      await start();
      await guest();
      await becomes(station, 'host-to-guest', 'eth1', 'info');
      await mend(station, await finding(station, 'host-to-guest', 'eth1'));
      await eventually(
        async () => brief((await doctor(station)).checks),
        (checks) => !checks.some((check) => check.includes('host-to-guest')),
        'host-to-guest is mended',
      );
    });
  });
});

it.runIf(findProgram('ip') !== undefined)('outside of everything it still ends well', async () => {
  const { spawnSync } = await import('node:child_process');
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [`${dist}cli/evbctl.js`, '--bus', 'unix:path=/nowhere', 'doctor', '--json', '--config', '/nowhere.yaml'],
    { encoding: 'utf8' },
  );
  expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
  expect(JSON.parse(stdout).checks.length).toBeGreaterThan(2);
});
