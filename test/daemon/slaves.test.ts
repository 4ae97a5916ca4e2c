/** `slaves: auto`: interfaces that anybody makes become VSIs, by the rules of the configuration. */

import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { needs } from '../support/needs.ts';
import { eventually, Host, World } from '../support/world.ts';

const ready = needs({ networkNamespace: true, programs: ['ip', 'bridge', 'dbus-daemon'] });

const CONFIG = `
uplinks: { eth1: { slaves: auto }, other: {} }
profiles:
  web: { manager: 1, type: 1, type-version: 1, vlan: 10 }
  db: { manager: 1, type: 2, type-version: 1, vlan: 20 }
rules:
  - { match: { mac: "52:54:00:*" }, profile: web }
  - { match: { uplink: eth1, mac: "52:55:*" }, profile: db }
  - { match: { uplink: other }, profile: db }
`;
const mac = (n: number, prefix = '52:54:00') => `${prefix}:00:00:${n.toString(16).padStart(2, '0')}`;

let world: World;
let station: Host;
let bridge: Host;

beforeEach(async () => {
  if (!ready) return;
  world = await World.wired();
  world.must('ip', 'netns', 'add', 'c1');
  world.must('ip', 'netns', 'add', 'c2');
  station = await Host.create(world, 'sta', CONFIG);
  bridge = await Host.create(world, 'br', 'ports: { swp1: { enforce: on } }');
  await bridge.start();
  await station.start();
  await station.must('wait', 'eth1', 'relay');
}, 60_000);
afterEach(() => world?.end());

const add = (name: string, address: string, ...more: string[]) =>
  world.in(
    'sta',
    'ip',
    'link',
    'add',
    'link',
    'eth1',
    'name',
    name,
    'address',
    address,
    ...more,
    'type',
    'macvlan',
    'mode',
    'vepa',
  );

/** What the bridge has associated: MAC/VID and type. */
const atBridge = async () =>
  (await bridge.vsis())
    .filter(({ state }) => state === 'associated')
    .map(({ filters, type }) => `${filters[0].mac}/${filters[0].vid} ${type}`)
    .sort();
const becomes = (...wanted: string[]) =>
  eventually(atBridge, (is) => JSON.stringify(is) === JSON.stringify(wanted.sort()), `VSIs ${wanted}`);
const slaves = async () => (await station.link('eth1')).slaves;

describe.runIf(ready)('slaves: auto', { timeout: 120_000 }, () => {
  it('a slave that a rule matches is a VSI as long as it lives, wherever it is', async () => {
    add('mv0', mac(1));
    await becomes(`${mac(1)}/10 1`);
    const [{ id, owner, profile }] = await station.vsis();
    expect([owner, profile]).toEqual(['rule:1', 'web']);
    world.in('sta', 'ip', 'link', 'set', 'mv0', 'netns', 'c1');
    world.in('c1', 'ip', 'link', 'set', 'mv0', 'name', 'eth0', 'address', mac(2));
    await becomes(`${mac(2)}/10 1`);
    expect((await station.vsis()).map((vsi) => vsi.id)).toEqual([id]);
    world.in('c1', 'ip', 'link', 'set', 'eth0', 'netns', 'c2');
    world.in('c2', 'ip', 'link', 'set', 'eth0', 'address', mac(3));
    await becomes(`${mac(3)}/10 1`);
    expect((await station.vsis()).map((vsi) => vsi.id)).toEqual([id]);
    expect(await slaves()).toMatchObject([
      { name: 'eth0', kind: 'macvlan', mode: 'vepa', vsi: id, reason: '' },
    ]);
    world.must('ip', 'netns', 'del', 'c2');
    await becomes();
    expect(world.staticEntries('br', 'swp1')).not.toContain(mac(3));
  });

  it('the first rule that matches counts; what is none of them, or not in VEPA mode, is left alone and told', async () => {
    add('one', mac(1));
    add('two', mac(2, '52:55:00'));
    add('three', mac(3, '52:56:00'));
    world.in(
      'sta',
      'ip',
      'link',
      'add',
      'link',
      'eth1',
      'name',
      'four',
      'address',
      mac(4),
      'type',
      'macvlan',
      'mode',
      'bridge',
    );
    await becomes(`${mac(1)}/10 1`, `${mac(2, '52:55:00')}/20 2`);
    const told = Object.fromEntries(
      (await slaves()).map(({ name, reason }: Record<string, string>) => [name, reason]),
    );
    expect(told).toEqual({ one: '', two: '', three: 'no rule matches it', four: 'not in VEPA mode' });
  });

  it('slaves that are there before the daemon, also in other namespaces, and after a restart, are the same VSIs', async () => {
    await station.stop();
    add('mv0', mac(1));
    add('mv1', mac(2));
    world.in('sta', 'ip', 'link', 'set', 'mv1', 'netns', 'c1');
    await station.start();
    await becomes(`${mac(1)}/10 1`, `${mac(2)}/10 1`);
    const ids = (await station.vsis()).map(({ id }) => id).sort();
    await station.stop('SIGKILL');
    world.in('c1', 'ip', 'link', 'del', 'mv1');
    add('mv2', mac(3));
    await station.start();
    await becomes(`${mac(1)}/10 1`, `${mac(3)}/10 1`);
    expect(ids).toContain((await station.vsis()).find(({ filters }) => filters[0].mac === mac(1)).id);
  });

  it('what D-Bus asks for goes first; the rule steps back, says so, and takes over again afterwards', async () => {
    add('mv0', mac(1));
    await becomes(`${mac(1)}/10 1`);
    const [{ id }] = await station.vsis();
    const refused = await station.evbctl('deassociate', id);
    expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining('rule 1') });
    const uuid = '00000000-0000-4000-8000-000000000001';
    await station.must('associate', 'eth1', '--mac', mac(1), '--profile', 'web', '--id', uuid);
    expect((await station.vsis()).map((vsi) => [vsi.id, vsi.owner])).toEqual([[uuid, 'dbus']]);
    await eventually(slaves, ([{ reason }]) => reason.includes('rule 1 steps back'), 'the rule steps back');
    await station.must('deassociate', uuid);
    await eventually(
      async () => (await station.vsis()).map((vsi) => [vsi.id, vsi.owner, vsi.state]),
      (vsis) => JSON.stringify(vsis) === JSON.stringify([[id, 'rule:1', 'associated']]),
      'the rule has it again',
    );
  });

  it('rules that change are followed at once', async () => {
    add('mv0', mac(1));
    await becomes(`${mac(1)}/10 1`);
    station.configure(
      CONFIG.replace(
        'profile: web }\n  - { match: { uplink: eth1',
        'profile: db }\n  - { match: { uplink: eth1',
      ),
    );
    await station.must('reload');
    await becomes(`${mac(1)}/20 2`);
    station.configure(CONFIG.replace('slaves: auto', 'slaves: manual'));
    await station.must('reload');
    await becomes();
    expect(await slaves()).toMatchObject([{ name: 'mv0', vsi: '' }]);
  });

  it('what a container makes on top of its slave is bounded, and takes nothing from others', async () => {
    station.configure(`limits: { slaves-per-namespace: 3 }\n${CONFIG}`);
    await station.must('reload');
    add('guest', mac(1));
    world.in('sta', 'ip', 'link', 'set', 'guest', 'up');
    add('mv0', mac(2));
    world.in('sta', 'ip', 'link', 'set', 'mv0', 'netns', 'c1');
    await becomes(`${mac(1)}/10 1`, `${mac(2)}/10 1`);
    const ids = (await station.vsis()).map(({ id }) => id).sort();
    /** Down, so that the kernel lets it have the address of one that is up. */
    const make = (name: string, address: string) => {
      const kind = ['type', 'macvlan', 'mode', 'vepa'];
      world.in('c1', 'ip', 'link', 'add', 'link', 'mv0', 'name', name, 'address', address, ...kind);
    };
    make('thief', mac(1));
    for (let n = 3; n < 12; n++) make(`many${n}`, mac(n));
    const reasonOf = async (name: string) =>
      (await slaves()).find((one: { name: string }) => one.name === name)?.reason;
    const says = (name: string, what: RegExp) =>
      eventually(reasonOf.bind(undefined, name), (reason) => what.test(reason), `${name}: ${what}`);
    await says('thief', /^guest has its address, and goes first$/);
    await says('many11', /slaves-per-namespace \(3 of namespace \d+ have VSIs\)/);
    expect((await station.link('eth1')).counters).toMatchObject({ slaves: 12, slavesBeyondLimits: 8 });
    expect(station.log.split('beyond the limits')).toHaveLength(2);
    await becomes(`${mac(1)}/10 1`, `${mac(2)}/10 1`, `${mac(3)}/10 1`);
    world.in('c1', 'ip', 'link', 'set', 'thief', 'address', mac(99));
    await becomes(`${mac(1)}/10 1`, `${mac(2)}/10 1`, `${mac(3)}/10 1`, `${mac(99)}/10 1`);
    world.in('c1', 'ip', 'link', 'del', 'thief');
    make('thief', mac(1));
    await becomes(...[1, 2, 3, 4].map((n) => `${mac(n)}/10 1`));
    world.in('c1', 'ip', 'link', 'del', 'thief');
    world.in('c1', 'ip', 'link', 'del', 'many3');
    await becomes(...[1, 2, 4, 5].map((n) => `${mac(n)}/10 1`));
    expect((await station.vsis()).map(({ id }) => id)).toEqual(expect.arrayContaining(ids));
  });

  describe('when-relay-refused: bridge', () => {
    const FALLBACK = CONFIG.replace('slaves: auto }', 'slaves: auto, when-relay-refused: bridge }');
    const modeOf = (where: string, name: string) => {
      const [shown] = JSON.parse(world.in(where, 'ip', '-j', '-d', 'link', 'show', 'dev', name));
      return shown.linkinfo.info_data.mode;
    };
    const modes = () => [
      modeOf('sta', 'mv0'),
      modeOf('sta', 'mv5'),
      modeOf('c1', 'mv1'),
      modeOf('sta', 'mv2'),
      modeOf('sta', 'mv3'),
    ];
    const modesBecome = (...wanted: string[]) =>
      eventually(modes, (is) => JSON.stringify(is) === JSON.stringify(wanted), `modes ${wanted}`);
    /** Up and down, elsewhere, one that no rule matches, one that is in bridge mode already. */
    const make = () => {
      add('mv0', mac(1));
      world.in('sta', 'ip', 'link', 'set', 'mv0', 'up');
      add('mv1', mac(2));
      world.in('sta', 'ip', 'link', 'set', 'mv1', 'netns', 'c1');
      add('mv2', mac(3, '52:56:00'));
      add('mv5', mac(5));
      const mv3 = ['name', 'mv3', 'address', mac(4), 'type', 'macvlan', 'mode', 'bridge'];
      world.in('sta', 'ip', 'link', 'add', 'link', 'eth1', ...mv3);
    };
    const deny = 'ports: { swp1: { enforce: on, reflective-relay: deny } }';
    const allow = 'ports: { swp1: { enforce: on } }';

    beforeEach(async () => {
      if (!ready) return;
      station.configure(FALLBACK);
      await station.must('reload');
      make();
      await becomes(`${mac(1)}/10 1`, `${mac(2)}/10 1`, `${mac(5)}/10 1`);
      bridge.configure(deny);
      await bridge.must('reload');
      await modesBecome('bridge', 'bridge', 'bridge', 'vepa', 'bridge');
    }, 60_000);

    it('is undone when relay is there again; VSIs are associated all the time', async () => {
      expect(await atBridge()).toEqual([`${mac(1)}/10 1`, `${mac(2)}/10 1`, `${mac(5)}/10 1`]);
      const by = 'set to bridge mode until relay is active';
      const reasons = async () =>
        Object.fromEntries(
          (await slaves()).map(({ name, reason }: Record<string, string>) => [name, reason]),
        );
      const [others, ours] = [
        { mv2: 'no rule matches it', mv3: 'not in VEPA mode' },
        { mv0: by, mv1: by, mv5: by },
      ];
      expect(await reasons()).toEqual({ ...others, ...ours });
      expect((await station.must('status')).replaceAll(/\s+/g, ' ')).toContain(
        'set to bridge mode reach each other, VEPA guests',
      );
      bridge.configure(allow);
      await bridge.must('reload');
      await modesBecome('vepa', 'vepa', 'vepa', 'vepa', 'bridge');
      expect(await reasons()).toEqual({ ...others, mv0: '', mv1: '', mv5: '' });
      expect(await atBridge()).toEqual([`${mac(1)}/10 1`, `${mac(2)}/10 1`, `${mac(5)}/10 1`]);
    });

    it('is undone by release, and when the configuration no longer asks for it', async () => {
      station.configure(CONFIG);
      await station.must('reload');
      await modesBecome('vepa', 'vepa', 'vepa', 'vepa', 'bridge');
      station.configure(FALLBACK);
      await station.must('reload');
      await modesBecome('bridge', 'bridge', 'bridge', 'vepa', 'bridge');
      await station.must('release', 'eth1');
      expect(modes()).toEqual(['vepa', 'vepa', 'vepa', 'vepa', 'bridge']);
    });

    it('goes on after kill -9, and is undone by a start that is not to do it', async () => {
      await station.stop('SIGKILL');
      await station.start();
      await station.must('wait', 'eth1', 'negotiated');
      expect(modes()).toEqual(['bridge', 'bridge', 'bridge', 'vepa', 'bridge']);
      await station.stop('SIGKILL');
      station.configure('uplinks: { other: {} }');
      await station.start();
      await modesBecome('vepa', 'vepa', 'vepa', 'vepa', 'bridge');
    });

    it('is undone after kill -9 for one that was moved meanwhile, not for one that was made anew', async () => {
      await station.stop('SIGKILL');
      world.in('sta', 'ip', 'link', 'set', 'mv5', 'netns', 'c2');
      world.in('c2', 'ip', 'link', 'set', 'mv5', 'name', 'eth0');
      world.in('sta', 'ip', 'link', 'del', 'mv0');
      const mv0 = ['name', 'mv0', 'address', mac(1), 'type', 'macvlan', 'mode', 'bridge'];
      world.in('sta', 'ip', 'link', 'add', 'link', 'eth1', ...mv0);
      station.configure('uplinks: { other: {} }');
      await station.start();
      const now = () => [
        modeOf('sta', 'mv0'),
        modeOf('c2', 'eth0'),
        modeOf('c1', 'mv1'),
        modeOf('sta', 'mv3'),
      ];
      const wanted = ['bridge', 'vepa', 'vepa', 'bridge'];
      await eventually(now, (is) => JSON.stringify(is) === JSON.stringify(wanted), `modes ${wanted}`);
    });

    it.runIf(needs({ programs: ['setpriv'] }))(
      'without CAP_SYS_ADMIN those in other namespaces stay as they are: said once, and shown',
      async () => {
        await station.must('release', 'eth1');
        await station.stop();
        add('mv6', mac(6));
        world.in('sta', 'ip', 'link', 'set', 'mv6', 'netns', 'c1');
        await station.start(['setpriv', '--bounding-set', '-sys_admin']);
        await modesBecome('bridge', 'bridge', 'vepa', 'vepa', 'bridge');
        const told = async () =>
          (await slaves())
            .filter(({ namespace }: { namespace: number }) => namespace >= 0)
            .map(({ mode, vsi, reason }: Record<string, string>) => [mode, vsi !== '', reason]);
        const reason = expect.stringContaining('CAP_SYS_ADMIN');
        await eventually(
          told,
          (is) => is.every(([, , why]: string[]) => why !== ''),
          'why they are not switched is shown',
        );
        expect(await told()).toEqual([
          ['vepa', true, reason],
          ['vepa', true, reason],
        ]);
        expect(station.log.split('CAP_SYS_ADMIN')).toHaveLength(2);
        expect(await station.must('status')).toMatch(/: vsi\s+\S+; cannot change the mode/);
        await becomes(...[1, 2, 5, 6].map((n) => `${mac(n)}/10 1`));
        bridge.configure(allow);
        await bridge.must('reload');
        await modesBecome('vepa', 'vepa', 'vepa', 'vepa', 'bridge');
        await eventually(told, (is) => is.every(([, , why]: string[]) => why === ''), 'nothing to be said');
      },
    );

    it.runIf(needs({ programs: ['setpriv'] }))(
      'what cannot be set back is no release, and none when it is asked for again, nor a removal',
      async () => {
        await station.stop('SIGKILL');
        await station.start(['setpriv', '--bounding-set', '-sys_admin']);
        await station.must('wait', 'eth1', 'negotiated');
        const why = expect.stringContaining('CAP_SYS_ADMIN');
        for (let i = 0; i < 2; i++) {
          expect(await station.evbctl('release', 'eth1')).toMatchObject({ status: 1, stderr: why });
          expect(modes()).toEqual(['vepa', 'vepa', 'bridge', 'vepa', 'bridge']);
        }
        station.configure('uplinks: { other: {} }');
        for (let i = 0; i < 2; i++)
          expect((await station.evbctl('reload')).stdout).toMatch(/^eth1: FAILED: .*CAP_SYS_ADMIN/m);
        world.in('c1', 'ip', 'link', 'set', 'mv1', 'type', 'macvlan', 'mode', 'vepa');
        // The kernel tells of a mode when something else changes too.
        world.in('c1', 'ip', 'link', 'set', 'mv1', 'up');
        await eventually(
          async () => (await slaves()).find(({ name }: { name: string }) => name === 'mv1').mode,
          (mode) => mode === 'vepa',
          'the mode that somebody else has set',
        );
        expect(await station.must('reload')).toContain('uplinks.eth1: removed, released');
      },
    );

    it('leaves a slave alone that somebody else has set to another mode since', async () => {
      world.in('sta', 'ip', 'link', 'set', 'mv0', 'type', 'macvlan', 'mode', 'private');
      bridge.configure(allow);
      await bridge.must('reload');
      await modesBecome('private', 'vepa', 'vepa', 'vepa', 'bridge');
    });
  });

  it('an uplink that is renamed, goes elsewhere, or is made anew: what stands on it is associated again', async () => {
    add('mv0', mac(1));
    add('mv1', mac(2));
    world.in('sta', 'ip', 'link', 'set', 'mv1', 'netns', 'c1');
    const both = [`${mac(1)}/10 1`, `${mac(2)}/10 1`];
    await becomes(...both);
    const of = async () => (await station.vsis()).map(({ id }) => id).sort();
    const ids = await of();
    const back = async () => {
      world.in('sta', 'ip', 'link', 'set', 'eth1', 'up');
      // The bridge may not have noticed that they were gone.
      await eventually(of, (is) => JSON.stringify(is) === JSON.stringify(ids), 'the same VSIs again');
      await becomes(...both);
    };
    const gone = async (...command: string[]) => {
      world.in('sta', 'ip', 'link', ...command);
      await eventually(of, (is) => is.length === 0, 'no VSIs without their uplink');
    };
    world.in('sta', 'ip', 'link', 'set', 'eth1', 'down');
    world.in('sta', 'ip', 'link', 'set', 'eth1', 'address', '02:00:00:00:00:e1');
    await back();
    await gone('set', 'eth1', 'name', 'eth7');
    world.in('sta', 'ip', 'link', 'set', 'eth7', 'name', 'eth1');
    await back();
    await gone('set', 'eth1', 'netns', 'c2');
    world.in('c1', 'ip', 'link', 'set', 'mv1', 'name', 'eth0');
    world.in('c2', 'ip', 'link', 'set', 'eth1', 'netns', String(station.pid));
    await back();
    world.in('sta', 'ip', 'link', 'del', 'eth1');
    await eventually(of, (is) => is.length === 0, 'no VSIs without their uplink');
    const peer = ['type', 'veth', 'peer', 'name', 'swp1', 'netns', 'br'];
    world.must('ip', 'link', 'add', 'eth1', 'netns', 'sta', ...peer);
    world.in('br', 'ip', 'link', 'set', 'swp1', 'master', 'br0', 'up');
    world.in('sta', 'ip', 'link', 'set', 'eth1', 'up');
    add('mv1', mac(2), 'netns', 'c1');
    await eventually(of, (is) => is.length === 1 && ids.includes(is[0]!), 'the VSI of the one that is left');
    await becomes(both[1]!);
  });

  it('200 slaves in 20 namespaces, created, moved, renamed, given new addresses and deleted in random order', async () => {
    const namespaces = Array.from({ length: 20 }, (_, n) => `n${n}`);
    for (const name of namespaces) world.must('ip', 'netns', 'add', name);
    const seed = Number(process.env['EVBD_SEED'] ?? Date.now() % 100_000);
    console.log(`EVBD_SEED=${seed}`);
    let state = seed;
    const random = (below: number) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * below);
    };
    const living: { name: string; where: string; address: string }[] = [];
    let made = 0;
    let addresses = 0;
    const fresh = () => {
      const n = ++addresses;
      return `52:54:00:00:${(n >> 8).toString(16).padStart(2, '0')}:${(n & 255).toString(16).padStart(2, '0')}`;
    };
    while (made < 200) {
      const slave = living[random(living.length)];
      const action = slave === undefined || living.length < 40 ? 0 : random(6);
      if (slave === undefined || action <= 1) {
        const name = `s${made++}`;
        const address = fresh();
        add(name, address);
        living.push({ name, where: 'sta', address });
      } else if (action === 2) {
        const where = random(5) === 0 ? 'sta' : namespaces[random(20)]!;
        if (where !== slave.where)
          world.in(
            slave.where,
            'ip',
            'link',
            'set',
            slave.name,
            'netns',
            where === 'sta' ? String(station.pid) : where,
          );
        slave.where = where;
      } else if (action === 3) {
        const name = `s${made++}`;
        world.in(slave.where, 'ip', 'link', 'set', slave.name, 'name', name);
        slave.name = name;
      } else if (action === 4) {
        slave.address = fresh();
        world.in(slave.where, 'ip', 'link', 'set', slave.name, 'address', slave.address);
      } else {
        world.in(slave.where, 'ip', 'link', 'del', slave.name);
        living.splice(living.indexOf(slave), 1);
      }
    }
    await becomes(...living.map(({ address }) => `${address}/10 1`));
    expect(world.staticEntries('br', 'swp1')).toHaveLength(living.length + 1);
    for (const { name, where } of living) world.in(where, 'ip', 'link', 'del', name);
    await becomes();
  });
});
