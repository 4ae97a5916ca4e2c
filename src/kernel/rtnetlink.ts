import type { MacAddress } from '../../protocols/octets/index.ts';
import {
  type BridgePortChange,
  decodeFdbEntry,
  decodeLink,
  decodeNamespace,
  encodeDelFdbEntry,
  encodeDumpFdb,
  encodeGetFdbEntry,
  encodeGetLink,
  encodeGetNamespace,
  encodeNewFdbEntry,
  encodeNewNamespace,
  encodeSetBridgePort,
  encodeSetMacvlanMode,
  type FdbEntry,
  type Link,
  type MacvlanMode,
  type NamespaceReference,
  NLM_F_CREATE,
  NLM_F_REPLACE,
  RTM_DELNEIGH,
  RTM_GETLINK,
  RTM_GETNEIGH,
  RTM_GETNSID,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWNSID,
  RTM_SETLINK,
} from '../../protocols/rtnetlink/index.ts';
import { KernelError } from './kernel-error.ts';
import { NetlinkRequests } from './netlink.ts';

/** Links, bridge ports, FDB and namespaces, asked of the kernel's rtnetlink. Methods reject with KernelError only. */
export class Rtnetlink extends NetlinkRequests {
  /**
   * All links, of our namespace or of one that has an id there. Ours are consistent, or EINTR when the table kept changing while
   * it was read; others may belong to somebody who changes them without end. EINVAL: no namespace has that id.
   */
  links(namespaceId?: number): Promise<Link[]> {
    return this.dump(
      'list the network interfaces',
      RTM_GETLINK,
      encodeGetLink(undefined, namespaceId),
      (message) => decodeLink(message).link,
      namespaceId === undefined ? {} : { tries: 2, takeInterrupted: true },
    );
  }

  /** By index or name; undefined when there is none. */
  async link(which: number | string, namespaceId?: number): Promise<Link | undefined> {
    const what = `look up interface ${which}`;
    const payload = encodeGetLink(which, namespaceId);
    const links = await this.unless('ENODEV', this.request(what, RTM_GETLINK, 0, payload, decodeLink));
    return links[0]?.link;
  }

  /** Ids of the network namespaces that have one in ours. */
  async namespaces(): Promise<number[]> {
    const what = 'list the network namespaces';
    const found = await this.dump(what, RTM_GETNSID, encodeGetNamespace(), decodeNamespace);
    return found.flatMap(({ namespaceId }) => namespaceId ?? []);
  }

  /** The id of a namespace in ours; it is given one where it has none. */
  async namespaceId(which: NamespaceReference): Promise<number> {
    const what = 'look up a network namespace';
    const ask = async () =>
      (await this.request(what, RTM_GETNSID, 0, encodeGetNamespace(which), decodeNamespace))[0]?.namespaceId;
    const known = await ask();
    if (known !== undefined) return known;
    // Somebody else may be faster.
    const given = this.request('name a network namespace', RTM_NEWNSID, 0, encodeNewNamespace(which));
    await this.unless('EEXIST', given);
    const id = await ask();
    if (id === undefined) throw new KernelError(what, 'ENOENT', 'it has no id');
    return id;
  }

  /** ENODEV: no such link; EOPNOTSUPP: it is in no bridge. Kernels ignore a flag that they do not know. */
  async setBridgePort(
    index: number,
    change: BridgePortChange,
    what = `set up bridge port ${index}`,
  ): Promise<void> {
    await this.request(what, RTM_SETLINK, 0, encodeSetBridgePort(index, change));
  }

  async setMacvlanMode(link: Link, mode: MacvlanMode): Promise<void> {
    const what = `set ${link.name} to macvlan mode ${mode}`;
    if (link.kind !== 'macvlan' && link.kind !== 'macvtap') {
      throw new KernelError(what, 'EOPNOTSUPP', 'it is neither a macvlan nor a macvtap');
    }
    await this.request(what, RTM_NEWLINK, 0, encodeSetMacvlanMode(link.index, link.kind, mode));
  }

  /** The bridge's entries for one port, without the device's own filter (`self`). */
  async fdb(port: number): Promise<FdbEntry[]> {
    const entries = await this.dump(
      `list the FDB of port ${port}`,
      RTM_GETNEIGH,
      encodeDumpFdb(port),
      decodeFdbEntry,
    );
    return entries.filter((entry) => entry !== undefined && !entry.self && entry.port === port) as FdbEntry[];
  }

  /** All entries of a bridge. */
  async bridgeFdb(bridge: number): Promise<FdbEntry[]> {
    const what = `list the FDB of bridge ${bridge}`;
    const entries = await this.dump(what, RTM_GETNEIGH, encodeDumpFdb(0), decodeFdbEntry);
    return entries.filter((entry) => entry?.bridge === bridge) as FdbEntry[];
  }

  /** The entry of an address in the bridge of this port, at whichever of its ports; undefined when there is none. */
  async fdbEntry(port: number, mac: MacAddress, vlan?: number): Promise<FdbEntry | undefined> {
    const payload = encodeGetFdbEntry(port, mac, vlan);
    const found = this.request(`look up FDB entry ${mac}`, RTM_GETNEIGH, 0, payload, decodeFdbEntry);
    return (await this.unless('ENOENT', found))[0];
  }

  /** A static entry, in place of whatever entry the address has. */
  async replaceFdbEntry(port: number, mac: MacAddress, vlan?: number): Promise<void> {
    const what = `enter ${mac} into the FDB of port ${port}`;
    await this.request(what, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, encodeNewFdbEntry(port, mac, vlan));
  }

  /** ENOENT: there is none at this port. */
  async deleteFdbEntry(port: number, mac: MacAddress, vlan?: number): Promise<void> {
    const what = `delete ${mac} from the FDB of port ${port}`;
    await this.request(what, RTM_DELNEIGH, 0, encodeDelFdbEntry(port, mac, vlan));
  }
}
