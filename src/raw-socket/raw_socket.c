/*
 * Raw sockets for Node: AF_PACKET and AF_NETLINK sockets that the event loop watches, and one AF_UNIX datagram.
 * Node-API 8 and libuv only. index.ts is the face and the only caller: it checks and converts arguments, here they are
 * checked just enough that no value can crash the process.
 *
 * Life of a socket: `new` opens it, takes a strong reference to its JavaScript object and starts the poll watcher, so
 * an open socket is never collected. close(), or the end of the environment (process or worker), closes watcher and
 * descriptor; the memory goes in on_closed(), when libuv has let go of the watcher. Nothing is static, so every
 * environment has its own.
 */
#define _GNU_SOURCE
#define NAPI_VERSION 8

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/netlink.h>
#include <node_api.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <uv.h>

enum {
  BATCH = 32,                 /* messages for one system call and one JavaScript callback */
  BATCHES_PER_WAKEUP = 8,     /* then other watchers get their turn */
  BATCHES_BEFORE_ERROR = 1024 /* what was queued before an error is delivered before it; this bounds the wait */
};

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* since Linux 5.14; the same on every architecture that Node runs on but parisc and sparc */
#endif

/* Longer than a loopback frame with its largest MTU and than any message a default send buffer lets through. The odd
 * 192 octets keep the slots from all falling on the same cache sets. Memory is touched only as far as it is used. */
#define SLOT (264 * 1024 + 192)

/* Where messages arrive before they are copied, side by side, to their batch. One per environment. */
struct arena {
  struct mmsghdr messages[BATCH];
  struct iovec parts[BATCH];
  struct sockaddr_nl senders[BATCH];
  _Alignas(struct cmsghdr) unsigned char control[BATCH][64];
  unsigned char octets[BATCH][SLOT];
};

/* What a batch tells about each message, ahead of the octets of all of them. The same words in index.ts. */
struct heading {
  uint32_t length;
  uint32_t detail; /* packet: VLAN TCI; netlink: port id of the sender */
  int32_t origin;  /* packet: VLAN TPID; netlink: namespace id; -1: none */
};

struct raw_socket {
  napi_env env;
  napi_ref self;
  napi_async_cleanup_hook_handle hook;
  uv_poll_t poll;
  int family;
  int fd;      /* -1 when closed */
  int pending; /* errno to report when the queue has been delivered, or 0 */
};

struct octets {
  unsigned char *data;
  size_t length;
};

/* ---- values and errors ---- */

static napi_value make_error(napi_env env, int error, const char *syscall) {
  char name[64], reason[128], message[320];
  napi_value code, text, value = NULL, number;
  uv_err_name_r(-error, name, sizeof name);
  uv_strerror_r(-error, reason, sizeof reason);
  snprintf(message, sizeof message, "%s: %s, %s", name, reason, syscall);
  if (napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &code) != napi_ok ||
      napi_create_string_utf8(env, message, NAPI_AUTO_LENGTH, &text) != napi_ok ||
      napi_create_error(env, code, text, &value) != napi_ok)
    return NULL;
  napi_create_string_utf8(env, syscall, NAPI_AUTO_LENGTH, &text);
  napi_set_named_property(env, value, "syscall", text);
  napi_create_int32(env, -error, &number);
  napi_set_named_property(env, value, "errno", number);
  return value;
}

static napi_value throw_error(napi_env env, int error, const char *syscall) {
  napi_value value = make_error(env, error, syscall);
  if (value) napi_throw(env, value);
  return NULL;
}

static napi_value throw_argument(napi_env env) {
  bool pending = false;
  napi_is_exception_pending(env, &pending);
  if (!pending) napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", "raw socket: unsuitable argument");
  return NULL;
}

static bool get_typed(napi_env env, napi_value value, napi_typedarray_type type, struct octets *out) {
  bool typed = false;
  napi_typedarray_type actual;
  void *data;
  if (napi_is_typedarray(env, value, &typed) != napi_ok || !typed) return false;
  if (napi_get_typedarray_info(env, value, &actual, &out->length, &data, NULL, NULL) != napi_ok) return false;
  out->data = data;
  return actual == type;
}

static void set_integer(napi_env env, napi_value object, const char *name, int64_t number) {
  napi_value value;
  if (napi_create_int64(env, number, &value) == napi_ok) napi_set_named_property(env, object, name, value);
}

/* ---- closing ---- */

static void on_closed(uv_handle_t *handle) {
  struct raw_socket *s = handle->data;
  if (s->hook) napi_remove_async_cleanup_hook(s->hook);
  free(s);
}

static void begin_close(struct raw_socket *s) {
  if (s->fd < 0) return;
  uv_close((uv_handle_t *)&s->poll, on_closed); /* before the descriptor, which libuv still has to forget */
  close(s->fd);
  s->fd = -1;
  napi_delete_reference(s->env, s->self);
}

static void on_environment_end(napi_async_cleanup_hook_handle hook, void *data) {
  (void)hook; /* removed in on_closed() */
  begin_close(data);
}

/* ---- receiving ---- */

/* Calls the socket's method; what it throws becomes an ordinary uncaughtException. */
static void call_back(struct raw_socket *s, const char *method, size_t argc, const napi_value *argv) {
  napi_value self, function, exception;
  bool pending = false;
  if (napi_get_reference_value(s->env, s->self, &self) == napi_ok &&
      napi_get_named_property(s->env, self, method, &function) == napi_ok)
    napi_make_callback(s->env, NULL, self, function, argc, argv, NULL);
  if (napi_is_exception_pending(s->env, &pending) == napi_ok && pending &&
      napi_get_and_clear_last_exception(s->env, &exception) == napi_ok)
    napi_fatal_exception(s->env, exception);
}

/* Remembers that something was lost, unless an earlier error says so already. */
static void set_pending(struct raw_socket *s, int error) {
  if (!s->pending) s->pending = error;
}

static void report(struct raw_socket *s) {
  int error = s->pending;
  s->pending = 0;
  napi_value value = make_error(s->env, error, "recvmmsg");
  if (value) call_back(s, "onError", 1, &value);
}

static int receive(struct raw_socket *s, struct arena *arena) {
  for (int i = 0; i < BATCH; i++) {
    arena->parts[i] = (struct iovec){arena->octets[i], SLOT};
    arena->messages[i].msg_hdr = (struct msghdr){
        .msg_name = &arena->senders[i],
        .msg_namelen = sizeof arena->senders[i],
        .msg_iov = &arena->parts[i],
        .msg_iovlen = 1,
        .msg_control = arena->control[i],
        .msg_controllen = sizeof arena->control[i],
    };
  }
  return recvmmsg(s->fd, arena->messages, BATCH, 0, NULL);
}

static struct heading heading_of(struct raw_socket *s, struct mmsghdr *message) {
  const struct sockaddr_nl *sender = message->msg_hdr.msg_name;
  struct heading heading = {.length = message->msg_len, .origin = -1};
  if (s->family == AF_NETLINK) heading.detail = sender->nl_pid;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&message->msg_hdr); c; c = CMSG_NXTHDR(&message->msg_hdr, c)) {
    if (c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_LISTEN_ALL_NSID)
      memcpy(&heading.origin, CMSG_DATA(c), sizeof heading.origin);
    if (c->cmsg_level == SOL_PACKET && c->cmsg_type == PACKET_AUXDATA) {
      struct tpacket_auxdata aux;
      memcpy(&aux, CMSG_DATA(c), sizeof aux);
      if (!(aux.tp_status & TP_STATUS_VLAN_VALID)) continue;
      heading.detail = aux.tp_vlan_tci;
      heading.origin = aux.tp_status & TP_STATUS_VLAN_TPID_VALID ? aux.tp_vlan_tpid : ETH_P_8021Q;
    }
  }
  return heading;
}

/* Headings, then the octets of every message: one allocation and one copy for the batch. */
static void deliver(struct raw_socket *s, struct arena *arena, int count) {
  uint32_t whole = 0;
  size_t total = 0;
  for (int i = 0; i < count; i++) {
    if (arena->messages[i].msg_hdr.msg_flags & MSG_TRUNC) {
      set_pending(s, EMSGSIZE); /* said, not passed on cut */
      continue;
    }
    whole++;
    total += arena->messages[i].msg_len;
  }
  if (whole == 0) return;

  void *memory;
  napi_value argv[2];
  if (napi_create_uint32(s->env, whole, &argv[0]) != napi_ok ||
      napi_create_arraybuffer(s->env, whole * sizeof(struct heading) + total, &memory, &argv[1]) != napi_ok) {
    set_pending(s, ENOMEM);
    return;
  }
  struct heading *heading = memory;
  unsigned char *octets = (unsigned char *)memory + whole * sizeof *heading;
  for (int i = 0; i < count; i++) {
    if (arena->messages[i].msg_hdr.msg_flags & MSG_TRUNC) continue;
    *heading = heading_of(s, &arena->messages[i]);
    memcpy(octets, arena->octets[i], heading->length);
    octets += heading->length;
    heading++;
  }
  call_back(s, "onBatch", 2, argv);
}

/* An error stands for what came after the messages that are queued, so they go first: whoever answers a netlink overrun
 * with a dump does not get older news after it. */
static void drain(struct raw_socket *s, struct arena *arena) {
  for (int batch = 0; batch < (s->pending ? BATCHES_BEFORE_ERROR : BATCHES_PER_WAKEUP); batch++) {
    int count = receive(s, arena);
    if (count < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN) break;
      int error = errno;
      if (s->pending) report(s);
      if (s->fd < 0) return;
      s->pending = error;
      continue;
    }
    napi_handle_scope scope;
    if (napi_open_handle_scope(s->env, &scope) != napi_ok) return;
    deliver(s, arena, count);
    napi_close_handle_scope(s->env, scope);
    if (s->fd < 0) return;
    if (count < BATCH) break;
  }
  if (s->pending) report(s);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  (void)events;
  struct raw_socket *s = poll->data;
  struct arena *arena;
  napi_handle_scope scope;
  if (status < 0) {
    /* libuv takes POLLERR for the end and stops; here it is a link going down or an overrun. */
    socklen_t size = sizeof s->pending;
    getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &s->pending, &size);
    uv_poll_start(poll, UV_READABLE, on_poll);
  }
  if (napi_open_handle_scope(s->env, &scope) != napi_ok) return;
  if (napi_get_instance_data(s->env, (void **)&arena) == napi_ok) drain(s, arena);
  napi_close_handle_scope(s->env, scope);
}

/* ---- opening: each open_* returns NULL, or the failed system call with its errno ---- */

#define SET(fd, level, option, value)                                                     \
  do {                                                                                    \
    if (setsockopt(fd, level, option, &(value), sizeof(value)) < 0) return "setsockopt " #option; \
  } while (0)

static const int ON = 1;

static const char *set_receive_buffer(int fd, int size) {
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) == 0) return NULL;
  SET(fd, SOL_SOCKET, SO_RCVBUF, size); /* cut to net.core.rmem_max */
  return NULL;
}

static const char *open_packet(struct raw_socket *s, int index, struct octets filter, struct octets members, int buffer) {
  const char *failed;
  /* Protocol 0 hears nothing, so no frame slips in before the filter is there; bind() starts the reception. */
  s->fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (s->fd < 0) return "socket";
  if (filter.length > 0) {
    struct sock_fprog program = {filter.length / sizeof(struct sock_filter), (struct sock_filter *)filter.data};
    SET(s->fd, SOL_SOCKET, SO_ATTACH_FILTER, program);
  }
  if ((failed = set_receive_buffer(s->fd, buffer))) return failed;
  SET(s->fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, ON);
  SET(s->fd, SOL_PACKET, PACKET_AUXDATA, ON);
  for (size_t at = 0; at + ETH_ALEN <= members.length; at += ETH_ALEN) {
    struct packet_mreq request = {.mr_ifindex = index, .mr_alen = ETH_ALEN};
    memcpy(request.mr_address, members.data + at, ETH_ALEN);
    request.mr_type = request.mr_address[0] & 1 ? PACKET_MR_MULTICAST : PACKET_MR_UNICAST;
    SET(s->fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, request);
  }
  struct sockaddr_ll address = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL), .sll_ifindex = index};
  return bind(s->fd, (struct sockaddr *)&address, sizeof address) < 0 ? "bind" : NULL;
}

/* A netlink socket in another network namespace, where it stays. */
struct elsewhere {
  int namespace; /* descriptor of a namespace; -1: ours */
  int protocol;
  int fd;
  int error;
  const char *failed;
};

static void *open_elsewhere(void *data) {
  struct elsewhere *there = data;
  if (there->namespace >= 0 && setns(there->namespace, CLONE_NEWNET) < 0) {
    there->failed = "setns";
  } else {
    there->fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, there->protocol);
    if (there->fd < 0) there->failed = "socket";
  }
  there->error = errno;
  return NULL;
}

/* A thread of its own goes there and ends there: the one that runs JavaScript never leaves our namespace. */
static void go_elsewhere(struct elsewhere *there) {
  pthread_t thread;
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before); /* it inherits that: signals are for others */
  int error = pthread_create(&thread, NULL, open_elsewhere, there);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error == 0) {
    pthread_join(thread, NULL);
  } else {
    there->error = error;
    there->failed = "pthread_create";
  }
}

static const char *open_netlink(struct raw_socket *s, int protocol, uint32_t *port, struct octets groups,
                                bool *all_namespaces, int buffer, int namespace) {
  const char *failed;
  struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_pid = *port};
  socklen_t size = sizeof address;
  struct elsewhere there = {.namespace = namespace, .protocol = protocol, .fd = -1};
  if (namespace < 0) open_elsewhere(&there);
  else go_elsewhere(&there);
  s->fd = there.fd;
  errno = there.error;
  if (there.failed) return there.failed;
  if ((failed = set_receive_buffer(s->fd, buffer))) return failed;
  SET(s->fd, SOL_NETLINK, NETLINK_EXT_ACK, ON);
  (void)setsockopt(s->fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &ON, sizeof ON); /* since Linux 4.20 */
  if (*all_namespaces && setsockopt(s->fd, SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, &ON, sizeof ON) < 0) {
    if (errno != EPERM) return "setsockopt NETLINK_LISTEN_ALL_NSID";
    *all_namespaces = false;
  }
  if (bind(s->fd, (struct sockaddr *)&address, size) < 0) return "bind";
  for (size_t i = 0; i < groups.length; i++) { /* after bind(), which would clear the first 32 */
    uint32_t group = ((uint32_t *)groups.data)[i];
    SET(s->fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group);
  }
  if (getsockname(s->fd, (struct sockaddr *)&address, &size) < 0) return "getsockname";
  *port = address.nl_pid;
  return NULL;
}

/* Gives the open socket to its JavaScript object and to the event loop, or throws and frees it. */
static napi_value adopt(napi_env env, napi_value self, struct raw_socket *s, const char *failed) {
  uv_loop_t *loop;
  int error = errno;
  if (!failed) {
    error = napi_get_uv_event_loop(env, &loop) == napi_ok ? -uv_poll_init(loop, &s->poll, s->fd) : ENOTSUP;
    if (error) failed = "uv_poll_init";
  }
  if (failed) {
    if (s->fd >= 0) close(s->fd);
    free(s);
    return throw_error(env, error, failed);
  }
  s->env = env;
  s->poll.data = s;
  int granted = 0;
  socklen_t size = sizeof granted;
  getsockopt(s->fd, SOL_SOCKET, SO_RCVBUF, &granted, &size);
  set_integer(env, self, "receiveBuffer", granted / 2); /* the kernel doubles what was asked for */
  if (napi_create_reference(env, self, 1, &s->self) != napi_ok ||
      napi_add_async_cleanup_hook(env, on_environment_end, s, &s->hook) != napi_ok ||
      napi_wrap(env, self, s, NULL, NULL, NULL) != napi_ok) {
    begin_close(s);
    return throw_argument(env);
  }
  uv_poll_start(&s->poll, UV_READABLE, on_poll);
  return self;
}

/* Reads `wanted` arguments of a `new`; onBatch and onError, from `callbacks` on, become properties of the object. */
static struct raw_socket *begin_construct(napi_env env, napi_callback_info info, size_t wanted, napi_value *argv,
                                          size_t callbacks, napi_value *self, int family) {
  size_t argc = wanted;
  napi_value target = NULL;
  napi_valuetype type;
  if (napi_get_cb_info(env, info, &argc, argv, self, NULL) != napi_ok || argc < wanted) return NULL;
  if (napi_get_new_target(env, info, &target) != napi_ok || !target) return NULL;
  for (size_t i = callbacks; i < callbacks + 2; i++)
    if (napi_typeof(env, argv[i], &type) != napi_ok || type != napi_function) return NULL;
  napi_set_named_property(env, *self, "onBatch", argv[callbacks]);
  napi_set_named_property(env, *self, "onError", argv[callbacks + 1]);
  struct raw_socket *s = calloc(1, sizeof *s);
  if (s) *s = (struct raw_socket){.family = family, .fd = -1};
  return s;
}

/* new PacketSocket(interfaceIndex, filter: Uint8Array of sock_filter, memberships: Uint8Array, receiveBuffer, ...) */
static napi_value construct_packet(napi_env env, napi_callback_info info) {
  napi_value argv[6], self;
  int32_t index, buffer;
  struct octets filter, groups;
  struct raw_socket *s = begin_construct(env, info, 6, argv, 4, &self, AF_PACKET);
  if (!s || napi_get_value_int32(env, argv[0], &index) != napi_ok ||
      !get_typed(env, argv[1], napi_uint8_array, &filter) || !get_typed(env, argv[2], napi_uint8_array, &groups) ||
      napi_get_value_int32(env, argv[3], &buffer) != napi_ok) {
    free(s);
    return throw_argument(env);
  }
  return adopt(env, self, s, open_packet(s, index, filter, groups, buffer));
}

/* new NetlinkSocket(protocol, portId, groups: Uint32Array, listenAllNamespaces, receiveBuffer, ..., namespace: -1 =
 * ours) */
static napi_value construct_netlink(napi_env env, napi_callback_info info) {
  napi_value argv[8], self, value;
  int32_t protocol, buffer, namespace;
  uint32_t port;
  bool all_namespaces;
  struct octets groups;
  struct raw_socket *s = begin_construct(env, info, 8, argv, 5, &self, AF_NETLINK);
  if (!s || napi_get_value_int32(env, argv[0], &protocol) != napi_ok ||
      napi_get_value_uint32(env, argv[1], &port) != napi_ok || !get_typed(env, argv[2], napi_uint32_array, &groups) ||
      napi_get_value_bool(env, argv[3], &all_namespaces) != napi_ok ||
      napi_get_value_int32(env, argv[4], &buffer) != napi_ok ||
      napi_get_value_int32(env, argv[7], &namespace) != napi_ok) {
    free(s);
    return throw_argument(env);
  }
  const char *failed = open_netlink(s, protocol, &port, groups, &all_namespaces, buffer, namespace);
  if (!adopt(env, self, s, failed)) return NULL;
  uint64_t cookie;
  socklen_t size = sizeof cookie;
  if (getsockopt(s->fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) == 0 &&
      napi_create_bigint_uint64(env, cookie, &value) == napi_ok)
    napi_set_named_property(env, self, "namespaceCookie", value);
  set_integer(env, self, "portId", port);
  if (napi_get_boolean(env, all_namespaces, &value) == napi_ok)
    napi_set_named_property(env, self, "allNamespaces", value);
  return self;
}

/* ---- methods ---- */

/* The open socket of `this`, or NULL when it is closed. */
static struct raw_socket *this_socket(napi_env env, napi_callback_info info, size_t wanted, napi_value *argv) {
  size_t argc = wanted;
  napi_value self;
  struct raw_socket *s = NULL;
  if (napi_get_cb_info(env, info, &argc, argv, &self, NULL) != napi_ok) return NULL;
  return napi_unwrap(env, self, (void **)&s) == napi_ok ? s : NULL;
}

static napi_value close_socket(napi_env env, napi_callback_info info) {
  napi_value self;
  struct raw_socket *s;
  size_t argc = 0;
  if (napi_get_cb_info(env, info, &argc, NULL, &self, NULL) == napi_ok &&
      napi_remove_wrap(env, self, (void **)&s) == napi_ok)
    begin_close(s);
  return NULL;
}

static napi_value set_referenced(napi_env env, napi_callback_info info) {
  napi_value argv[1];
  bool referenced;
  struct raw_socket *s = this_socket(env, info, 1, argv);
  if (!s) return NULL;
  if (napi_get_value_bool(env, argv[0], &referenced) != napi_ok) return throw_argument(env);
  (referenced ? uv_ref : uv_unref)((uv_handle_t *)&s->poll);
  return NULL;
}

/* send(frames: Uint8Array[]): how many the kernel took. The array must be a plain one, without getters. */
static napi_value send_frames(napi_env env, napi_callback_info info) {
  napi_value argv[1], item, result;
  uint32_t count, sent = 0;
  struct raw_socket *s = this_socket(env, info, 1, argv);
  if (!s) return throw_error(env, EBADF, "sendmmsg");
  if (napi_get_array_length(env, argv[0], &count) != napi_ok) return throw_argument(env);
  while (sent < count) {
    struct mmsghdr messages[BATCH] = {0};
    struct iovec parts[BATCH];
    uint32_t batch = count - sent < BATCH ? count - sent : BATCH;
    for (uint32_t i = 0; i < batch; i++) {
      struct octets octets;
      if (napi_get_element(env, argv[0], sent + i, &item) != napi_ok ||
          !get_typed(env, item, napi_uint8_array, &octets))
        return throw_argument(env);
      parts[i] = (struct iovec){octets.data, octets.length};
      messages[i].msg_hdr = (struct msghdr){.msg_iov = &parts[i], .msg_iovlen = 1};
    }
    int taken = sendmmsg(s->fd, messages, batch, 0);
    if (taken >= 0) {
      sent += taken;
    } else if (errno != EINTR) {
      if (sent > 0 || errno == EAGAIN || errno == ENOBUFS) break; /* a hard error comes again with the rest */
      return throw_error(env, errno, "sendmmsg");
    }
  }
  return napi_create_uint32(env, sent, &result) == napi_ok ? result : NULL;
}

/* statistics(): counts since the last call */
static napi_value statistics(napi_env env, napi_callback_info info) {
  struct tpacket_stats counts;
  socklen_t size = sizeof counts;
  napi_value result;
  struct raw_socket *s = this_socket(env, info, 0, NULL);
  if (!s) return throw_error(env, EBADF, "getsockopt PACKET_STATISTICS");
  if (getsockopt(s->fd, SOL_PACKET, PACKET_STATISTICS, &counts, &size) < 0)
    return throw_error(env, errno, "getsockopt PACKET_STATISTICS");
  if (napi_create_object(env, &result) != napi_ok) return NULL;
  set_integer(env, result, "packets", counts.tp_packets);
  set_integer(env, result, "drops", counts.tp_drops);
  return result;
}

/* send(octets, portId, groups: mask) */
static napi_value send_message(napi_env env, napi_callback_info info) {
  napi_value argv[3];
  struct octets octets;
  struct sockaddr_nl address = {.nl_family = AF_NETLINK};
  ssize_t sent;
  struct raw_socket *s = this_socket(env, info, 3, argv);
  if (!s) return throw_error(env, EBADF, "sendto");
  if (!get_typed(env, argv[0], napi_uint8_array, &octets) ||
      napi_get_value_uint32(env, argv[1], &address.nl_pid) != napi_ok ||
      napi_get_value_uint32(env, argv[2], &address.nl_groups) != napi_ok)
    return throw_argument(env);
  do sent = sendto(s->fd, octets.data, octets.length, 0, (struct sockaddr *)&address, sizeof address);
  while (sent < 0 && errno == EINTR);
  return sent < 0 ? throw_error(env, errno, "sendto") : NULL;
}

/* sendDatagram(path: Uint8Array, first octet 0 = abstract; octets) */
static napi_value send_datagram(napi_env env, napi_callback_info info) {
  napi_value argv[2];
  size_t argc = 2;
  struct octets path, octets;
  struct sockaddr_un address = {.sun_family = AF_UNIX};
  if (napi_get_cb_info(env, info, &argc, argv, NULL, NULL) != napi_ok ||
      !get_typed(env, argv[0], napi_uint8_array, &path) || !get_typed(env, argv[1], napi_uint8_array, &octets))
    return throw_argument(env);
  if (path.length > sizeof address.sun_path) return throw_error(env, ENAMETOOLONG, "sendto");
  if (path.length > 0) memcpy(address.sun_path, path.data, path.length);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return throw_error(env, errno, "socket");
  socklen_t size = offsetof(struct sockaddr_un, sun_path) + path.length;
  ssize_t sent = sendto(fd, octets.data, octets.length, MSG_NOSIGNAL, (struct sockaddr *)&address, size);
  int error = errno;
  close(fd);
  return sent < 0 ? throw_error(env, error, "sendto") : NULL;
}

/* ---- the module ---- */

static void free_arena(napi_env env, void *data, void *hint) {
  (void)env;
  (void)hint;
  free(data);
}

#define METHOD(name, function) {name, NULL, function, NULL, NULL, NULL, napi_default, NULL}
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

NAPI_MODULE_INIT() {
  const napi_property_descriptor packet[] = {METHOD("close", close_socket), METHOD("setReferenced", set_referenced),
                                             METHOD("send", send_frames), METHOD("statistics", statistics)};
  const napi_property_descriptor netlink[] = {METHOD("close", close_socket), METHOD("setReferenced", set_referenced),
                                              METHOD("send", send_message)};
  napi_value packet_class, netlink_class, datagram;
  struct arena *arena = calloc(1, sizeof *arena);
  if (!arena || napi_set_instance_data(env, arena, free_arena, NULL) != napi_ok) {
    free(arena);
    return throw_error(env, ENOMEM, "calloc");
  }
  if (napi_define_class(env, "PacketSocket", NAPI_AUTO_LENGTH, construct_packet, NULL, COUNT(packet), packet,
                        &packet_class) != napi_ok ||
      napi_define_class(env, "NetlinkSocket", NAPI_AUTO_LENGTH, construct_netlink, NULL, COUNT(netlink), netlink,
                        &netlink_class) != napi_ok ||
      napi_create_function(env, "sendDatagram", NAPI_AUTO_LENGTH, send_datagram, NULL, &datagram) != napi_ok)
    return NULL;
  napi_set_named_property(env, exports, "PacketSocket", packet_class);
  napi_set_named_property(env, exports, "NetlinkSocket", netlink_class);
  napi_set_named_property(env, exports, "sendDatagram", datagram);
  return exports;
}
