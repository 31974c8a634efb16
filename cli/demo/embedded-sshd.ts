import { type ChildProcess, spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import ssh2, { type AuthContext, type Connection, type ServerChannel } from 'ssh2'
import type { Stage } from './stage.ts'

interface EmbeddedOptions {
  hostKey: string
  authorizedKeysFile: string
  user: string
}

/** An SSH server on loopback that runs commands and opens channels for those whose key is in the file. */
export function startEmbedded(stage: Stage, options: EmbeddedOptions): Promise<number> {
  const connections = new Set<Connection>()
  const children = new Set<ChildProcess>()
  const server = new ssh2.Server({ hostKeys: [options.hostKey] }, (connection) => {
    connections.add(connection)
    connection.on('close', () => connections.delete(connection))
    connection.on('error', () => {})
    connection.on('authentication', (attempt) => authenticate(attempt, options))
    connection.on('ready', () => serve(connection, children))
  })
  stage.onClose(() => {
    for (const child of children) child.kill('SIGKILL')
    for (const connection of connections) connection.end()
    server.close()
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const address = server.address()
      if (address !== null && typeof address === 'object') resolve(address.port)
    })
  })
}

function authenticate(attempt: AuthContext, options: EmbeddedOptions): void {
  if (isWelcome(attempt, options)) attempt.accept()
  else attempt.reject(['publickey'])
}

function isWelcome(attempt: AuthContext, { authorizedKeysFile, user }: EmbeddedOptions): boolean {
  if (attempt.method !== 'publickey' || attempt.username !== user) return false
  const blob = attempt.key.data.toString('base64')
  const lines = readFileSync(authorizedKeysFile, 'utf8').split('\n')
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
