/** evbd against Debian's lldpad, in both roles, on a veth pair. */

import { writeFileSync } from 'node:fs';
import { afterEach, describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({
  networkNamespace: true,
  programs: ['ip', 'bridge', 'lldpad', 'lldptool', 'vdptool', 'dbus-daemon'],
});

let world: World;
afterEach(() => world?.end());

/** An lldpad in a namespace, with a /run and a /dev/shm of its own, set up by lldptool as an administrator would. */
async function startLldpad(namespace: string, link: string, settings: readonly string[]): Promise<void> {
  const folder = `mount -t tmpfs tmpfs /dev/shm && mount -t tmpfs tmpfs /run`;
  const command = `${folder} && exec lldpad -V 3 -f ${world.folder}/lldpad-${namespace}.conf`;
  world.start(namespace, ['unshare', '--mount', 'sh', '-c', command]);
  await eventually(
    () => world.run(namespace, 'lldptool', 'ping'),
    ({ status }) => status === 0,
    'lldpad does not answer',
  );
  world.in(namespace, 'lldptool', '-L', '-i', link, '-g', 'ncb', 'adminStatus=rxtx');
  for (const setting of [...settings, 'enabletx=yes']) {
    world.in(namespace, 'lldptool', '-T', '-i', link, '-g', 'ncb', '-V', 'evb', '-c', setting);
  }
}

async function connect(): Promise<void> {
  world = await World.create('sta', 'br');
  const peer = ['type', 'veth', 'peer', 'name', 'swp1', 'netns', 'br'];
  world.must('ip', 'link', 'add', 'eth1', 'netns', 'sta', ...peer);
  world.in('sta', 'ip', 'link', 'set', 'eth1', 'up');
}

const GUEST = [
  '--mac',
  '52:54:00:0a:0b:0c',
  '--vlan',
  '42',
  '--manager',
  '12',
  '--type',
  '1193046',
  '--type-version',
  '33',
];

describe.runIf(ready)('lldpad', () => {
  it('as the bridge: relay is negotiated, a VSI is associated and deassociated', {
    timeout: 60_000,
  }, async () => {
    await connect();
    world.in('br', 'ip', 'link', 'set', 'swp1', 'up');
    await startLldpad('br', 'swp1', ['evbmode=bridge', 'evbrrcap=yes', 'evbgpid=yes']);
    const station = await Host.create(world, 'sta', 'uplinks: { eth1: {} }');
    await station.start();

    await station.must('wait', 'eth1', 'relay');
    expect(await station.link('eth1')).toMatchObject({ relay: 'active', protocol: 'ratified' });

    await station.must('associate', 'eth1', ...GUEST);
    const [vsi] = await station.vsis();
    expect(vsi).toMatchObject({ state: 'associated', filters: [{ mac: '52:54:00:0a:0b:0c', vid: 42 }] });
    expect(vsi.history.map(({ state }: { state: string }) => state)).toEqual(['associating', 'associated']);
    // An acknowledged request and its answer, each an ECPDU: lldpad's bridge has no command that lists its VSIs.
    const { counters } = await station.link('eth1');
    expect(counters.txErrors).toBe(0);
    // More than one where lldpad's short ack timer made it send the answer again.
    expect(counters.rxFrameCount).toBeGreaterThan(0);

    await station.must('deassociate', vsi.id);
    expect(await station.vsis()).toEqual([]);
  });

  it('as the bridge: is recognized, and associates 100 VSIs that are asked for at once', {
    timeout: 60_000,
  }, async () => {
    await connect();
    world.in('br', 'ip', 'link', 'set', 'swp1', 'up');
    await startLldpad('br', 'swp1', ['evbmode=bridge', 'evbrrcap=yes', 'evbgpid=yes']);
    const station = await Host.create(world, 'sta', 'uplinks: { eth1: {} }');
    await station.start();
    await station.must('wait', 'eth1', 'relay');
    const numbers = { manager: '12', type: 5, 'type-version': 4 };
    const lines = Array.from({ length: 100 }, (_, i) => {
      const mac = `52:54:00:00:00:${(i + 1).toString(16).padStart(2, '0')}`;
      return JSON.stringify({ mac, vlan: i + 2, ...numbers });
    });
    const file = `${world.folder}/vsis`;
    writeFileSync(file, lines.join('\n'));
    await station.must('associate', 'eth1', '--from', file);
    const states = (await station.vsis()).map(({ state }) => state);
    expect(states).toEqual(Array.from({ length: 100 }, () => 'associated'));
    expect(station.log).toContain('the bridge is lldpad');
  });

  it('as the station: our port turns hairpin on and its request is granted', {
    timeout: 60_000,
  }, async () => {
    await connect();
    world.in('br', 'ip', 'link', 'add', 'br0', 'type', 'bridge');
    world.in('br', 'ip', 'link', 'set', 'swp1', 'master', 'br0');
    world.in('br', 'ip', 'link', 'set', 'br0', 'up');
    world.in('br', 'ip', 'link', 'set', 'swp1', 'up');
    const bridge = await Host.create(world, 'br', 'ports: { swp1: { enforce: on } }');
    await bridge.start();
    expect(world.bridgePort('br', 'swp1')).toMatchObject({ hairpin: false });

    await startLldpad('sta', 'eth1', ['evbmode=station', 'evbrrreq=yes', 'evbgpid=yes']);
    await bridge.must('wait', 'swp1', 'relay');
    expect(world.bridgePort('br', 'swp1')).toMatchObject({ hairpin: true, locked: true });

    const uuid = '9d3f1c20-75b1-4e0e-a4c6-6b1f20d7e359';
    const assoc = [
      'mode=assoc',
      'mgrid2=mgrA',
      'typeid=5',
      'typeidver=4',
      `uuid=${uuid}`,
      'hints=none',
      'filter=42-52:54:00:0a:0b:0c',
    ];
    const arguments_ = assoc.flatMap((value) => ['-c', value]);
    const { status, stdout } = await world.run(
      'sta',
      'vdptool',
      '-i',
      'eth1',
      '-T',
      '-W',
      '-V',
      'assoc',
      ...arguments_,
    );
    expect({ status, stdout }).toMatchObject({ status: 0, stdout: expect.stringContaining(uuid) });
    expect(stdout).toContain('assoc');
    expect(stdout).not.toContain('deassoc');
    expect(await bridge.vsis()).toMatchObject([{ id: uuid, state: 'associated', owner: 'peer' }]);
    expect(world.staticEntries('br', 'swp1')).toContain('52:54:00:0a:0b:0c');
  });
});
