import { type ChildProcess, spawn } from 'node:child_process'
import { connect } from 'node:net'
import ssh2, { type AuthContext, type Connection, type ServerChannel } from 'ssh2'

export interface SshServerOptions {
  /** A private key, as `newKeyPair` makes it. */
  hostKey: string
  user: string
  /** The lines of an authorized_keys file; asked at each login. */
  authorizedKeys(): string
}

export interface SshServer {
  readonly port: number
  /** Ends its connections and what runs on them. */
  close(): void
}

/** An SSH server on loopback that runs commands and opens channels for those whose key is authorized. */
export function startSshServer(options: SshServerOptions): Promise<SshServer> {
  const connections = new Set<Connection>()
  const children = new Set<ChildProcess>()
  const server = new ssh2.Server({ hostKeys: [options.hostKey] }, (connection) => {
    connections.add(connection)
    connection.on('close', () => connections.delete(connection))
    connection.on('error', () => {})
    connection.on('authentication', (attempt) => authenticate(attempt, options))
    connection.on('ready', () => serve(connection, children))
  })
  const close = (): void => {
    for (const child of children) child.kill('SIGKILL')
    for (const connection of connections) connection.end()
    server.close()
  }
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      if (address !== null && typeof address === 'object') resolve({ port: address.port, close })
    })
  })
}

function authenticate(attempt: AuthContext, options: SshServerOptions): void {
  if (isWelcome(attempt, options)) attempt.accept()
  else attempt.reject(['publickey'])
}

function isWelcome(attempt: AuthContext, { authorizedKeys, user }: SshServerOptions): boolean {
  if (attempt.method !== 'publickey' || attempt.username !== user) return false
  const blob = attempt.key.data.toString('base64')
  const lines = authorizedKeys().split('\n')
  const line = lines.find((candidate) => candidate.includes(` ${blob}`))
  const key = line === undefined ? undefined : ssh2.utils.parseKey(line.slice(line.indexOf('ssh-')))
  if (key === undefined || key instanceof Error) return false
  // Without a signature the client only asks whether this key would do.
  if (attempt.signature === undefined || attempt.blob === undefined) return true
  return key.verify(attempt.blob, attempt.signature, attempt.hashAlgo) === true
}

function serve(connection: Connection, children: Set<ChildProcess>): void {
  connection.on('session', (acceptSession) => {
    const session = acceptSession()
    session.on('exec', (accept, _reject, { command }) => execute(accept(), command, children))
  })
  connection.on('tcpip', (accept, reject, { destIP, destPort }) => {
    const socket = connect({ host: destIP, port: destPort, allowHalfOpen: true })
    socket.once('error', () => reject())
    socket.once('connect', () => {
      socket.removeAllListeners('error')
      const channel = accept()
      socket.on('error', () => channel.destroy())
      channel.on('error', () => socket.destroy())
      socket.pipe(channel).pipe(socket)
    })
  })
}

function execute(channel: ServerChannel, command: string, children: Set<ChildProcess>): void {
  const child = spawn('/bin/sh', ['-c', command])
  children.add(child)
  channel.on('error', () => child.kill())
  channel.on('close', () => child.kill())
  child.stdin.on('error', () => {})
  channel.pipe(child.stdin)
  child.stdout.pipe(channel, { end: false })
  child.stderr.pipe(channel.stderr, { end: false })
  child.once('error', () => channel.exit(127))
  child.once('close', (code) => {
    children.delete(child)
    channel.exit(code ?? 1)
    channel.end()
  })
}

/** ssh2 writes about one Ed25519 key in a hundred in a form that it cannot read itself; such a one is thrown away. */
export function newKeyPair(comment: string): { private: string; public: string } {
  for (;;) {
    const pair = ssh2.utils.generateKeyPairSync('ed25519', { comment })
    if (!(ssh2.utils.parseKey(pair.private) instanceof Error)) return pair
  }
}
