{
  'targets': [
    {
      'target_name': 'raw_socket',
      'sources': ['raw_socket.c'],
      'cflags': ['-std=gnu11', '-Wall', '-Wextra', '-fvisibility=hidden'],
      'cflags!': ['-Wno-unused-parameter'],
    },
  ],
}
