import { fileURLToPath } from 'node:url';
import { afterEach, describe, expect, test, vi } from 'vitest';

import { isMember } from '../../src/dbus/access.ts';
import { connect, Denied } from '../../src/dbus/client.ts';
import { Connection } from '../../src/dbus/connection.ts';
import { startService } from '../../src/dbus/service.ts';
import { needs } from '../support/needs.ts';
import { asUser, startBus } from './support/bus.ts';
import { FakeDaemon, TestLog, vsi } from './support/fake-daemon.ts';

// On a busy machine a bus takes its time; nothing here waits for a clock.
vi.setConfig({ testTimeout: 60_000 });

const NOBODY = 65534;

const passwd =
  'root:x:0:0::/root:/bin/sh\nkim:x:1000:1000::/home/kim:/bin/sh\nlee:x:1001:970::/home/lee:/bin/sh\n';
const group = 'root:x:0:\nevbd:x:970:kim,robin\nevbdx:x:971:lee\n';

test.each<[string, number, number[] | null, string, boolean]>([
  ["the process's own groups count", 1001, [1001, 970], group, true],
  ['and nothing else, when the bus tells them', 1000, [1000], group, false],
  ["else the user's supplementary groups", 1000, null, group, true],
  ['or the primary one', 1001, null, group, true],
  ['a user that is in neither', 0, null, group, false],
  ['a user without an entry', 4242, null, group, false],
  ['no group evbd', 1000, [1000, 970], 'root:x:0:\n', false],
  ['a group evbd without members', 1000, null, 'evbd:x:970:\n', false],
])('%s', (_, uid, groups, groupFile, expected) => {
  expect(isMember(uid, groups, passwd, groupFile)).toBe(expected);
});

describe.runIf(needs({ programs: ['dbus-daemon', 'setpriv'], root: true }))('the system bus', () => {
  const before = process.env['DBUS_SYSTEM_BUS_ADDRESS'];
  afterEach(() => {
    if (before === undefined) delete process.env['DBUS_SYSTEM_BUS_ADDRESS'];
    else process.env['DBUS_SYSTEM_BUS_ADDRESS'] = before;
  });

  test.each(['system', 'address'])('root changes, others read (%s)', async (by) => {
    await using bus = await startBus();
    process.env['DBUS_SYSTEM_BUS_ADDRESS'] = bus.address;
    const daemon = new FakeDaemon();
    const at = by === 'system' ? 'system' : bus.address;
    const service = await startService({ daemon, bus: at, log: new TestLog() });
    const root = await connect('system');
    const nobody = await asUser(NOBODY, [NOBODY], () => connect('system'));
    expect(await root.reload()).toHaveLength(1);
    for (let i = 0; i < 2; i++) await expect(nobody.reload()).rejects.toThrow(Denied);
    await expect(nobody.associate('eth1', {})).rejects.toThrow(
      /^Associate is for root and for members of group evbd/,
    );
    await expect(nobody.watch('eth1')).rejects.toThrow(Denied);
    expect(await nobody.links()).toEqual(daemon.links());
    await Promise.all([root.close(), nobody.close()]);
    await service.close();
  });

  test('the policy that is installed', async () => {
    const file = fileURLToPath(new URL('../../systemd/org.evbd1.conf', import.meta.url));
    // As the system bus's own policy is.
    await using bus = await startBus(`<policy context="default">
      <allow user="*"/><deny own="*"/><deny send_type="method_call"/><allow send_type="signal"/>
      <allow send_requested_reply="true" send_type="method_return"/>
      <allow send_requested_reply="true" send_type="error"/>
      <allow receive_type="method_call"/><allow receive_type="method_return"/><allow receive_type="error"/>
      <allow receive_type="signal"/>
      <allow send_destination="org.freedesktop.DBus" send_interface="org.freedesktop.DBus"/>
    </policy><include>${file}</include>`);
    const thief = await asUser(NOBODY, [NOBODY], () => Connection.open(bus.address, 20_000));
    await expect(thief.callBus('RequestName', 'su', ['org.evbd1', 4], 20_000)).rejects.toThrow(
      /not allowed to own/,
    );
    await thief.close();

    const daemon = new FakeDaemon();
    const service = await startService({ daemon, bus: bus.address, log: new TestLog() });
    const root = await connect(bus.address);
    const nobody = await asUser(NOBODY, [NOBODY], () => connect(bus.address));
    await nobody.subscribe();
    const seen = new Promise<string>((resolve) => nobody.on('vsiChanged', (id) => resolve(id)));
    expect(await root.associate('eth1', { id: 'one' })).toBe('/org/evbd1/vsi/eth1/one');
    expect(await seen).toBe('one');
    expect(await nobody.version()).toBe('0.1.0-test');
    expect(await nobody.vsis()).toEqual([vsi('eth1', 'one')]);
    await expect(nobody.associate('eth1', {})).rejects.toThrow(
      /^Associate is for root and for members of group evbd/,
    );
    await expect(nobody.watch('eth1')).rejects.toThrow(Denied);
    await Promise.all([root.close(), nobody.close()]);
    await service.close();
  });
});
