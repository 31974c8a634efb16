import { byteText } from '../output.ts'
import { BLOCK_EVERY_MS, ByteStream } from './byte-stream.ts'
import type { ClusterScene } from './cluster-scene.ts'
import type { Narrator } from './narrator.ts'

/** What comes before the first replica is asked to leave, to compare with. */
const QUIET_BYTES = 81_920

const ms = (time: number): string => `${time.toFixed(0)} ms`

/** Which replicas there are, and which of them have the machine. */
export async function whoHasWhom(scene: ClusterScene, say: Narrator): Promise<void> {
  say.chapter('Which replicas there are, and which of them have the machine')
  await scene.settled()
  say.command('tunnel status --cluster')
  const { status, stdout, stderr } = await scene.stage.run(['status', '--cluster'])
  say.said(status === 0 ? stdout : stderr)
  const missing = scene.replicas.filter(({ id }) => !stdout.includes(id)).map(({ id }) => id)
  say.check(
    status === 0 && missing.length === 0 && stdout.includes('/home'),
    `${scene.replicas.length} replicas, each linked to each, and one machine at two of them`,
    status === 0 ? `missing: ${missing.join(' ') || 'home'}` : `status ${status}`,
  )
}

/** Every replica is replaced while one ssh brings bytes. */
export async function rollingRestart(scene: ClusterScene, say: Narrator): Promise<void> {
  say.chapter('Each replica is replaced (SIGTERM) under one running ssh')
  say.command("tunnel ssh home 'tee copy.bin </dev/urandom, slowly' | sha256sum")
  const stream = new ByteStream(scene, ({ bytes, longestGapMs }) =>
    say.progress(`${byteText(bytes)} have come; longest pause ${ms(longestGapMs)}`),
  )
  await stream.more(QUIET_BYTES)
  say.said(`nothing happens yet: ${byteText(stream.bytes)}, longest pause ${ms(stream.takeGap())}`)
  const statuses: (number | null)[] = []
  for (const old of [...scene.replicas]) {
    if (stream.ended) break
    const next = await scene.add()
    const began = performance.now()
    statuses.push(await scene.remove(old))
    const took = `${((performance.now() - began) / 1_000).toFixed(1)} s`
    await stream.more()
    say.said(
      `${next.id} for ${old.id}, gone in ${took}: ${byteText(stream.bytes)}, longest pause ${ms(stream.takeGap())}`,
    )
  }
  stream.stop()
  const { status, stderr } = await stream.finished
  const { sent, received } = stream.checksums()
  say.said(`${sent}  sent\n${received}  received`)
  const left = statuses.every((each) => each === 0) && statuses.length === scene.replicas.length
  say.check(
    status === 0 && sent === received && left,
    `same checksum; longest pause ${ms(stream.longestGapMs)}, of which ${BLOCK_EVERY_MS} ms are the sender's own`,
    `ssh's status ${status}, the replicas' ${statuses.join(', ')}, ${stream.bytes} bytes: ${stderr.trim()}`,
  )
}
