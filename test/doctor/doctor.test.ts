/** Each fault made for real, as far as the kernel lets: doctor names it, and what it tells to do, done literally, ends it. */

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { evbctl } from '../cli/support.ts';
import { LLDPAD_PROGRAMS, Lldpad } from '../support/lldpad.ts';
import { needs } from '../support/needs.ts';
import { eventually, Host, type Outcome, World } from '../support/world.ts';

const ready = needs({
  networkNamespace: true,
  programs: ['ip', 'bridge', 'dbus-daemon', 'sysctl', 'python3'],
});
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

async function make(): Promise<void> {
  world = await World.wired();
  station = await Host.create(world, 'sta', UPLINK);
  bridge = await Host.create(world, 'br', PORT);
  // Not every machine that tests has it. evbctl and evbd are in no PATH.
  shims = `${world.folder}/bin`;
  mkdirSync(shims);
  writeFileSync(`${shims}/sudo`, '#!/bin/sh\nexec "$@"\n', { mode: 0o755 });
}

const namespaceOf = (host: Host) => (host === station ? 'sta' : 'br');

async function doctor(host: Host, ...args: string[]): Promise<{ status: number | null; checks: Told[] }> {
  const { status, stdout, stderr } = await host.evbctl('doctor', '--json', '--config', host.file, ...args);
  if (stdout === '') throw new Error(`evbctl doctor ended with ${status}: ${stderr}`);
  return { status, checks: JSON.parse(stdout).checks };
}

/** Made at the beginning of a group of tests, ended with it. */
function inWorld(prepare: () => Promise<void> = async () => {}): void {
  beforeAll(async () => {
    await make();
    await prepare();
  }, TIMEOUT);
  afterAll(() => world?.end());
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

const inSta = (...command: string[]) => world.in('sta', ...command);
const inBr = (...command: string[]) => world.in('br', ...command);

/** A macvtap in VEPA mode unless told otherwise, as libvirt makes them. */
function guest(address: string, mode = 'vepa'): void {
  const words = `ip link add link eth1 name tap0 address ${address} type macvtap mode ${mode}`;
  inSta(...words.split(' '));
}
const GUEST = '52:54:00:00:00:01';

/** A program that hears LLDP; it ends with its standard input. */
async function listener(): Promise<ChildProcess> {
  const program = `
import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x88cc))
s.bind(("eth1", 0x88cc))
print("on", flush=True)
sys.stdin.read()`;
  const child = world.start('sta', ['python3', '-c', program], {}, 'pipe');
  await once(child.stdout!, 'data');
  return child;
}

describe.runIf(ready)('evbctl doctor', { timeout: TIMEOUT }, () => {
  describe('where nothing runs yet', () => {
    inWorld();
    afterEach(() => {
      station.configure(UPLINK);
      bridge.configure(PORT);
    });

    it('a configuration that is wrong is told as evbd --check tells it', async () => {
      station.configure('uplinks:\n  eth1: { speed: 1 }\n');
      expect(await finding(station, 'configuration')).toMatchObject({
        result: 'problem',
        text: `${station.file}:2:11: uplinks.eth1.speed: unknown key`,
      });
    });

    it('there is no configuration', async () => {
      const { stdout } = await station.evbctl('doctor', '--json', '--config', '/nowhere.yaml');
      const text = 'there is no /nowhere.yaml';
      expect(JSON.parse(stdout).checks).toContainEqual(
        expect.objectContaining({ name: 'configuration', result: 'problem', text }),
      );
    });

    it('a link that is neither configured nor there is a wrong argument', async () => {
      const { status, stderr } = await station.evbctl('doctor', '--config', station.file, 'eth9');
      expect({ status, stderr }).toEqual({
        status: 2,
        stderr: 'evbctl doctor: there is no link eth9, neither configured nor in the kernel\n',
      });
    });

    it('the interface is missing', async () => {
      station.configure(UPLINK.replace('eth1', 'eth9'));
      expect(await finding(station, 'interface', 'eth9')).toMatchObject({
        result: 'problem',
        text: 'there is no such interface',
        mend: expect.stringContaining('(there are eth1)'),
      });
    });

    it('the interface has no carrier', async () => {
      inBr('ip', 'link', 'set', 'swp1', 'down');
      const text = 'it has no carrier';
      expect(await finding(station, 'interface', 'eth1')).toMatchObject({ result: 'problem', text });
      inBr('ip', 'link', 'set', 'swp1', 'up');
      await becomes(station, 'interface', 'eth1', 'ok');
    });

    it.runIf(process.getuid?.() === 0 && needs({ programs: ['setpriv'] }))(
      'a user without rights is told of that, and not shown a stack',
      async () => {
        const file = `/tmp/evbd-doctor-${process.pid}.yaml`;
        writeFileSync(file, UPLINK);
        const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
        const command = [process.execPath, `${dist}cli/evbctl.js`, '--bus', station.bus, 'doctor', '--json'];
        const options = ['--config', file, '--listen', '1'];
        const stranger = await listener();
        const { status, stdout, stderr } = await world.run('sta', ...asNobody, ...command, ...options);
        expect({ status, stderr }).toEqual({ status: 1, stderr: '' });
        const { checks }: { checks: Told[] } = JSON.parse(stdout);
        const told = checks.find(({ name }) => name === 'permissions')!;
        expect(told).toMatchObject({ result: 'problem', text: expect.stringContaining('CAP_NET_RAW') });
        expect(checks.find(({ name }) => name === 'neighbour')).toMatchObject({
          result: 'unknown',
          text: expect.stringContaining('CAP_NET_RAW'),
        });
        expect(checks.find(({ name }) => name === 'lldp-agent')).toMatchObject({
          result: 'unknown',
          text: expect.stringContaining('not to be seen by this user'),
        });
        stranger.stdin!.end();
        const asRoot = await paste(station, `${told.mend} --json`);
        rmSync(file);
        expect(JSON.parse(asRoot.stdout).checks).toContainEqual(
          expect.objectContaining({ name: 'permissions', result: 'ok' }),
        );
      },
    );

    it.runIf(process.getuid?.() === 0 && needs({ programs: ['setpriv', 'bash'] }))(
      'processes of another user are not believed, whatever they call themselves',
      async () => {
        const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
        const stays = "console.log('on'); process.stdin.on('end', () => process.exit()).resume();";
        // A path that reads as the abstract name.
        const folder = `${world.folder}/nobody`;
        mkdirSync(`${folder}/@/com/intel`, { recursive: true });
        chmodSync(world.folder, 0o711);
        chmodSync(`${folder}/@/com/intel`, 0o777);
        const listen = `require('node:net').createServer().listen('@/com/intel/lldpad', () => { ${stays} })`;
        const lldpad = `process.chdir('${folder}'); ${listen}`;
        const pretend = (name: string, script: string, options: string) => {
          const command = `exec -a ${name} ${process.execPath} -e "$1" -- ${options}`;
          return world.start('sta', [...asNobody, 'bash', '-c', command, 'sh', script], {}, 'pipe');
        };
        const pretenders = [
          pretend('evbd', stays, '--bus unix:path=/x/bus --config /x/evil.yaml'),
          pretend('lldpad', lldpad, '-f /x/evil.conf'),
          pretend('node', `process.title = 'systemd-network'; ${stays}`, ''),
        ];
        await Promise.all(pretenders.map((child) => once(child.stdout!, 'data')));
        const { checks } = await doctor(station);
        for (const child of pretenders) child.stdin!.end();
        await Promise.all(pretenders.map((child) => child.exitCode ?? once(child, 'exit')));
        const of = (name: string) => checks.filter((each) => each.name === name && each.result === 'info');
        const calls = (name: string) =>
          expect.stringMatching(new RegExp(`^process \\d+ calls itself ${name}$`));
        expect(of('daemon')).toMatchObject([{ text: calls('evbd'), mend: '' }]);
        expect(of('lldp-agent')).toMatchObject([
          { text: calls('lldpad'), mend: '' },
          { text: calls('systemd-networkd'), mend: '' },
        ]);
        expect(JSON.stringify(checks)).not.toMatch(/evil|\/x\/bus|lldptool/);
      },
    );

    it('evbd does not run: it is started as doctor says', async () => {
      const told = await finding(station, 'daemon');
      const text = expect.stringContaining('evbd is not on the bus');
      expect(told).toMatchObject({ result: 'problem', text });
      expect((await doctor(station)).status).toBe(1);
      const folders = `--state-dir ${world.folder}/s --runtime-dir ${world.folder}/r`;
      const evbd = world.start('sta', ['sh', '-c', `exec ${told.mend} ${folders}`]);
      await becomes(station, 'daemon', '', 'ok');
      evbd.kill('SIGTERM');
      await becomes(station, 'daemon', '', 'problem');
    });

    it('the port is in no bridge, and there is none', async () => {
      inBr('ip', 'link', 'del', 'br0');
      await mend(bridge, await finding(bridge, 'bridge', 'swp1'));
      await becomes(bridge, 'bridge', 'swp1', 'ok');
    });

    it('the neighbour is listened to where doctor is told to', async () => {
      expect(await finding(station, 'neighbour', 'eth1')).toMatchObject({
        result: 'unknown',
        mend: expect.stringContaining('--listen 35 eth1'),
      });
      const listened = async () => {
        const { checks } = await doctor(station, '--listen', '2', 'eth1');
        return checks.find(({ name }) => name === 'neighbour');
      };
      expect(await listened()).toMatchObject({
        result: 'problem',
        text: 'no LLDP was heard within 2 seconds',
      });
      bridge.configure('ports: { swp1: { evb: false, lldp: { tx-interval: 1 } } }');
      await bridge.start();
      const none = expect.stringContaining('but no EVB TLV');
      expect(await listened()).toMatchObject({ result: 'problem', text: none });
      bridge.configure('ports: { swp1: { lldp: { tx-interval: 1 } } }');
      await bridge.must('reload');
      const some = expect.stringContaining('speaks EVB');
      expect(await listened()).toMatchObject({ result: 'ok', text: some });
    });
  });

  describe('where evbd runs without a neighbour', () => {
    inWorld(() => station.start());

    it('nothing is heard', async () => {
      const text = expect.stringContaining('nothing at all was heard');
      expect(await finding(station, 'neighbour', 'eth1')).toMatchObject({ result: 'problem', text });
    });

    it('on another bus than was asked, it is found all the same', async () => {
      const elsewhere = await Host.create(world, 'sta', UPLINK);
      const told = await finding(elsewhere, 'daemon');
      const text = expect.stringContaining(`process ${station.pid}`);
      expect(told).toMatchObject({ result: 'problem', text });
      const { stdout } = await paste(station, `${told.mend} --json`);
      expect(brief(JSON.parse(stdout).checks)).toContain('ok daemon');
    });

    it('in another network namespace, it is not judged by the interfaces here', async () => {
      const options = ['--bus', station.bus, 'doctor', '--json', '--config', station.file];
      const here = await world.run('br', process.execPath, `${dist}cli/evbctl.js`, ...options);
      const { checks }: { checks: Told[] } = JSON.parse(here.stdout);
      const told = checks.find(({ name }) => name === 'namespace')!;
      expect(told.result).toBe('unknown');
      expect(checks.filter(({ link }) => link !== '')).toEqual([]);
      const there = await paste(bridge, `${told.mend} --json`);
      expect(brief(JSON.parse(there.stdout).checks)).toContain('ok interface eth1');
    });

    it('LLDP is heard, but for the nearest bridge only', async () => {
      bridge.configure('ports: { swp1: { interop: { lldp-scope: nearest-bridge } } }');
      await bridge.start();
      await eventually(
        () => finding(station, 'neighbour', 'eth1'),
        ({ result, text }) =>
          result === 'problem' && text.startsWith('only frames for other groups were heard'),
        'LLDP is heard',
      );
    });

    it('LLDP is heard, but no EVB', async () => {
      bridge.configure('ports: { swp1: { evb: false } }');
      await bridge.must('reload');
      await eventually(
        () => finding(station, 'neighbour', 'eth1'),
        ({ result, text }) =>
          result === 'problem' && text.startsWith('LLDP was heard, but there is no EVB peer'),
        'LLDP is heard',
      );
    });
  });

  describe('where everything worked before', () => {
    inWorld(async () => {
      await bridge.start();
      await station.start();
      await station.must('wait', 'eth1', 'relay');
    });
    // What doctor tells to do leaves nothing behind that it would find.
    afterEach(async () => {
      await eventually(
        async () =>
          (await Promise.all([station, bridge].map((host) => doctor(host)))).map(({ checks }) =>
            worse(checks),
          ),
        (checks) => checks.flat().length === 0,
        'everything works again',
      );
    }, TIMEOUT);

    it('has nothing to say against that, on either side', async () => {
      guest(GUEST);
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
      const text = await station.evbctl('doctor', '--config', station.file, 'eth1');
      expect(text.status).toBe(0);
      expect(text.stdout).toMatch(/^\d+ ok \(--verbose shows all\)\n$/);
    });

    it('looks at the file that evbd runs with where none is named', async () => {
      const { stdout } = await station.evbctl('doctor', '--json');
      const { checks }: { checks: Told[] } = JSON.parse(stdout);
      expect(checks.find(({ name }) => name === 'configuration')).toMatchObject({
        result: 'ok',
        text: `${station.file} is valid`,
      });
      expect(worse(checks)).toEqual([]);
    });

    it('without relay this host does not reach its guests', async () => {
      const outOfReach = async () =>
        brief((await doctor(station)).checks).some((check) => check.includes('host-to-guest'));
      expect(await outOfReach()).toBe(false);
      bridge.configure('ports: { swp1: { reflective-relay: deny } }');
      await bridge.must('reload');
      await eventually(outOfReach, Boolean, 'the host is out of reach');
      bridge.configure(PORT);
      await bridge.must('reload');
      await eventually(outOfReach, (is) => !is, 'the host is within reach');
      inSta('ip', 'link', 'del', 'tap0');
    });

    it('the file has changed', async () => {
      station.configure(UPLINK.replace('uplinks: {', 'uplinks: { eth1b: {},'));
      const told = await finding(station, 'configuration');
      const text = expect.stringContaining('evbd does not know eth1b');
      expect(told).toMatchObject({ result: 'warning', text });
      await mend(station, told);
      await becomes(station, 'configuration', '', 'ok');
      station.configure(UPLINK);
      expect((await finding(station, 'configuration')).text).toContain('evbd still has eth1b');
      await mend(station, told);
    });

    it('the link was released', async () => {
      await station.must('release', 'eth1');
      const told = await finding(station, 'neighbour', 'eth1');
      expect(told).toMatchObject({ result: 'problem', text: expect.stringContaining('released') });
      await mend(station, told);
    });

    it('the interface is down', async () => {
      inSta('ip', 'link', 'set', 'eth1', 'down');
      const told = await finding(station, 'interface', 'eth1');
      expect(told).toMatchObject({ result: 'problem', text: 'it is down' });
      await mend(station, told);
    });

    it('the uplink is in a bridge', async () => {
      inSta('ip', 'link', 'add', 'br9', 'type', 'bridge');
      inSta('ip', 'link', 'set', 'eth1', 'master', 'br9');
      const told = await finding(station, 'uplink', 'eth1');
      expect(told).toMatchObject({ result: 'problem', text: 'it is a port of the Linux bridge br9' });
      // What doctor says of it is true.
      expect(() => guest(GUEST)).toThrow();
      await mend(station, told);
    });

    it('the MTU is small', async () => {
      inSta('ip', 'link', 'set', 'eth1', 'mtu', '576');
      const told = await finding(station, 'mtu', 'eth1');
      // The kernel has no IPv6 on it then.
      expect(brief((await doctor(station)).checks)).toContain('ok ipv6-dad eth1');
      expect(told).toMatchObject({ result: 'warning', text: 'its MTU is 576' });
      await mend(station, told);
    });

    it('the host takes its own IPv6 addresses for duplicates', async () => {
      for (const which of ['all', 'eth1'])
        inSta('sh', '-c', `echo 0 > /proc/sys/net/ipv6/conf/${which}/enhanced_dad`);
      const told = await finding(station, 'ipv6-dad', 'eth1');
      expect(told).toMatchObject({ result: 'warning', text: 'enhanced_dad is off' });
      // Hairpin is on: an address that comes now fails.
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
      inSta('ip', 'address', 'del', '2001:db8::1/64', 'dev', 'eth1');
    });

    it('the bridge refuses relay', async () => {
      bridge.configure('ports: { swp1: { reflective-relay: deny } }');
      await bridge.must('reload');
      await eventually(
        () => finding(station, 'relay', 'eth1'),
        ({ result, text }) => result === 'problem' && text.includes('no RRCAP'),
        'relay is refused',
      );
      bridge.configure(PORT);
      await bridge.must('reload');
    });

    it('the port is in no bridge', async () => {
      inBr('ip', 'link', 'set', 'swp1', 'nomaster');
      const told = await finding(bridge, 'bridge', 'swp1');
      expect(told).toMatchObject({ result: 'problem', text: 'it is in no Linux bridge' });
      await mend(bridge, told);
    });

    it('its bridge is down', async () => {
      inBr('ip', 'link', 'set', 'br0', 'down');
      const told = await finding(bridge, 'bridge', 'swp1');
      expect(told).toMatchObject({ result: 'problem', text: 'its bridge br0 is down' });
      await mend(bridge, told);
    });

    it('the port is isolated', async () => {
      inBr('bridge', 'link', 'set', 'dev', 'swp1', 'isolated', 'on');
      const told = await finding(bridge, 'isolated', 'swp1');
      expect(told).toMatchObject({ result: 'problem', text: 'it is isolated' });
      await mend(bridge, told);
    });

    it('the bridge leaks where evbd shall not stop that', async () => {
      inBr('ip', 'link', 'add', 'swp2', 'type', 'veth', 'peer', 'name', 'other');
      for (const name of ['swp2', 'other']) inBr('ip', 'link', 'set', name, 'up');
      inBr('ip', 'link', 'set', 'swp2', 'master', 'br0');
      await eventually(
        () => finding(bridge, 'leak', 'swp1'),
        ({ result, text }) => result === 'ok' && text.includes('EVB frames are kept from its other ports'),
        'the leak is stopped',
      );
      bridge.configure('ports: { swp1: { enforce: on, leak: report } }');
      await bridge.must('reload');
      await eventually(
        () => finding(bridge, 'leak', 'swp1'),
        ({ result }) => result === 'problem',
        'it leaks',
      );
      const told = await finding(bridge, 'leak', 'swp1');
      expect(told.text).toBe('EVB frames leak to swp2');
      await mend(bridge, { ...told, mend: told.mend.split('; or: ')[1]! });
      expect(await finding(bridge, 'leak', 'swp1')).toMatchObject({ result: 'ok' });
      inBr('ip', 'link', 'set', 'br0', 'type', 'bridge', 'stp_state', '0');
      bridge.configure('ports: { swp1: { enforce: on, leak: stop } }');
      await bridge.must('reload');
      await becomes(bridge, 'leak', 'swp1', 'ok');
      inBr('ip', 'link', 'del', 'swp2');
      bridge.configure(PORT);
    });

    it('a guest is in bridge mode', async () => {
      guest(GUEST, 'bridge');
      const told = await finding(station, 'slave-mode', 'eth1');
      expect(told).toMatchObject({ result: 'warning', text: 'tap0 (bridge) not in VEPA mode' });
      inSta('ip', 'link', 'set', 'tap0', 'up');
      await mend(station, told);
      await becomes(station, 'slave-mode', 'eth1', 'ok');
      inSta('ip', 'link', 'del', 'tap0');
    });

    it('no rule matches a guest', async () => {
      guest('52:99:00:00:00:01');
      const without = 'tap0 without VSI: no rule matches it';
      await eventually(
        () => finding(station, 'slave-vsi', 'eth1'),
        ({ result, text }) => result === 'warning' && text === without,
        without,
      );
      const told = await finding(station, 'slave-vsi', 'eth1');
      const rule = /"(rules: .*)" in/.exec(told.mend)![1]!.replace('NAME', 'web');
      station.configure(UPLINK.replace(/rules:.*/, rule));
      await station.must('reload');
      await becomes(station, 'slave-vsi', 'eth1', 'ok');
      inSta('ip', 'link', 'del', 'tap0');
      station.configure(UPLINK);
      await station.must('reload');
    });

    it('a guest has the address of the uplink', async () => {
      const { mac } = await station.link('eth1');
      guest(mac);
      expect(() => inSta('ip', 'link', 'set', 'tap0', 'up')).toThrow();
      const told = await finding(station, 'slave-address', 'eth1');
      expect(told).toMatchObject({ result: 'warning', text: 'tap0 has the address of eth1 itself' });
      await mend(station, told);
      inSta('ip', 'link', 'set', 'tap0', 'up');
      await becomes(station, 'slave-address', 'eth1', 'ok');
      inSta('ip', 'link', 'del', 'tap0');
    });

    it('a second evbd runs', async () => {
      const second = await Host.create(world, 'sta', UPLINK);
      await second.start();
      const told = await finding(station, 'lldp-agent', 'eth1');
      expect(told).toMatchObject({ result: 'problem', mend: `kill ${second.pid}` });
      await mend(station, told);
    });

    it('a program that nobody knows hears LLDP', async () => {
      const stranger = await listener();
      expect(await finding(station, 'lldp-agent', 'eth1')).toMatchObject({
        result: 'warning',
        text: expect.stringMatching(/^python3 \(process \d+\) takes LLDP too/),
      });
      stranger.stdin!.end();
    });

    it.runIf(needs({ programs: LLDPAD_PROGRAMS }))(
      'lldpad with EVB is a rival, idle it is none',
      async () => {
        const lldpad = await Lldpad.start(world, 'sta', 'eth1', ['evbmode=station']);
        const told = await finding(station, 'lldp-agent', 'eth1');
        const text = expect.stringMatching(/^lldpad \(process \d+\)/);
        expect(told).toMatchObject({ result: 'problem', text });
        await mend(station, told);
        await becomes(station, 'lldp-agent', 'eth1', 'ok');
        expect((await finding(station, 'lldp-agent', 'eth1')).text).toContain('lldpad');
        await station.must('wait', 'eth1', 'relay');
        await lldpad.kill();
      },
    );

    it.runIf(existsSync(NETWORKD) && process.getuid?.() === 0)('systemd-networkd sends, or not', async () => {
      const folder = '/run/systemd/network';
      const network = '[Match]\\nName=eth1\\n[Network]\\nLinkLocalAddressing=no\\nEmitLLDP=';
      const write = (value: string) => `printf '${network}${value}\\n' > ${folder}/10-eth1.network`;
      // Where /sys is read-only, as in a container, it waits for no udev.
      const setUp = [
        `mkdir -p ${folder} /run/systemd/netif/links`,
        'chown -R systemd-network /run/systemd/netif',
        'mount -o remount,ro /sys',
        write('customer-bridge'),
        `exec ${NETWORKD}`,
      ];
      const networkd = world.start('sta', ['sh', '-c', setUp.join(' && ')]);
      await eventually(
        () => finding(station, 'lldp-agent', 'eth1'),
        ({ result }) => result === 'problem',
        'networkd sends',
      );
      const told = await finding(station, 'lldp-agent', 'eth1');
      expect(told.mend).toContain(`EmitLLDP=no under [Network] in ${folder}/10-eth1.network`);
      inSta('sh', '-c', write('no'));
      expect(await finding(station, 'lldp-agent', 'eth1')).toMatchObject({ result: 'ok' });
      networkd.kill('SIGTERM');
    });
  });
});

it('without bus, configuration and rights it still ends well', async () => {
  const options = ['--bus', 'unix:path=/nowhere', 'doctor', '--json', '--config', '/nowhere.yaml'];
  const { code, stdout, stderr } = await evbctl(options);
  expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
  expect(brief(JSON.parse(stdout).checks)).toContain('problem daemon');
});
