/**
 * `libvirt-client.mjs PORT-ID VSI`: asks a daemon for a VSI over netlink as libvirt does (libvirt-netlink.md 3 and 4) and prints
 * `{"errno":0,"response":0}`; `response` is absent when the daemon never said how it ended.
 */
import { readFileSync } from 'node:fs';
import process from 'node:process';
import {
  Attributes,
  decodeCompletion,
  decodeMessages,
  encodeMessage,
  HostWriter,
} from '../../dist/protocols/rtnetlink/index.js';
import { NetlinkSocket } from '../../dist/src/raw-socket/index.js';

const RTM_GETLINK = 18;
const RTM_SETLINK = 19;
const REQUEST_ACK = 5;
const IFLA_IFNAME = 3;
const IFLA_VFINFO_LIST = 22;
const IFLA_VF_PORTS = 24;
const IFLA_PORT_VSI_TYPE = 3;
const IFLA_PORT_INSTANCE_UUID = 4;
const IFLA_PORT_REQUEST = 6;
const IFLA_PORT_RESPONSE = 7;
const SELF = 0xffffffff;
/** libvirt's own numbers. */
const POLLS = 80;
const POLL_PAUSE = 125;

const daemon = Number(process.argv[2]);
const vsi = JSON.parse(process.argv[3]);
const index = Number(readFileSync(`/sys/class/net/${vsi.link}/ifindex`, 'utf8'));
const uuid = Buffer.from(vsi.uuid.replaceAll('-', ''), 'hex');
const mac = Buffer.alloc(32);
mac.set(Buffer.from(vsi.mac.replaceAll(':', ''), 'hex'));

let answered;
const socket = new NetlinkSocket({
  onMessages: ([{ octets }]) => answered(decodeMessages(octets)[0]),
  onError(error) {
    throw error;
  },
});

const interfaceInfo = () =>
  new HostWriter().u8(0).u8(0).u16(0).s32(index).u32(0).u32(0).text(IFLA_IFNAME, vsi.link);
let sequence = 0;
function ask(type, payload) {
  const answer = new Promise((resolve) => {
    answered = resolve;
  });
  const header = { type, flags: REQUEST_ACK, sequence: ++sequence, portId: socket.portId };
  socket.send(encodeMessage(header, payload.finish()), { portId: daemon });
  return answer;
}

const typeOctets = [
  vsi.manager,
  vsi.type & 0xff,
  (vsi.type >> 8) & 0xff,
  vsi.type >> 16,
  vsi.typeVersion,
  0,
  0,
  0,
];
const asked = interfaceInfo()
  .nested(IFLA_VFINFO_LIST, (list) =>
    list.nested(1, (info) =>
      info
        .attribute(1, (value) => value.u32(SELF).octets(mac))
        .attribute(2, (value) => value.u32(SELF).u32(vsi.vlan).u32(0)),
    ),
  )
  .nested(IFLA_VF_PORTS, (list) =>
    list.nested(1, (port) =>
      port
        .attribute(IFLA_PORT_VSI_TYPE, (value) => value.octets(Uint8Array.from(typeOctets)))
        .attribute(IFLA_PORT_INSTANCE_UUID, (value) => value.octets(uuid))
        .attribute(IFLA_PORT_REQUEST, (value) => value.u8(vsi.request)),
    ),
  );
const { errno } = decodeCompletion(await ask(RTM_SETLINK, asked));
let response;
for (let poll = 0; errno === 0 && response === undefined && poll < POLLS; poll++) {
  const { payload } = await ask(RTM_GETLINK, interfaceInfo());
  payload.sub(16, 'ifinfomsg');
  const ports = new Attributes(payload).nested(IFLA_VF_PORTS)?.allNested(1) ?? [];
  const ours = ports.find((port) => uuid.equals(port.octets(IFLA_PORT_INSTANCE_UUID)));
  if (ours === undefined) break;
  response = ours.u16(IFLA_PORT_RESPONSE);
  if (response === undefined) await new Promise((resolve) => setTimeout(resolve, POLL_PAUSE));
}
socket.close();
console.log(JSON.stringify({ errno, response }));
