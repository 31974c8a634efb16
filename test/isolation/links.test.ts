import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { FrameType } from '../../protocol/codec/frames.ts'
import { RawClient } from '../plugins/links/raw-client.ts'
import { foreignFrames, outcomeOf } from '../support/foreign-frames.ts'
import { listenTcp } from '../support/proxy.ts'
import { agentOf, assertNoneIsPrinted, startScene } from './scene.ts'
import { FRAMES } from './table.ts'

test('whoever you are not, your frames reach no stream, and no forgery holds a link', async (t) => {
  const scene = await startScene(t)

  await t.test(
    "no frame of another's link reaches a stream of alice's, and each comes to what the table says",
    async (t) => {
      const target = await listenTcp(t, (socket) => socket.pipe(socket))
      const agent = await scene.proxy.startAgent('desk', 'alice', target, { token: scene.token('alice') })
      t.after(() => agent.close())
      const alice = await scene.proxy.connect('alice', { token: scene.token('alice') })
      const stream = await alice.open({ machine: 'desk', kind: 'ssh' })
      stream.on('error', () => {})
      const echo = async (text: string) => {
        stream.write(text)
        const [chunk] = (await once(stream, 'data')) as [Buffer]
        assert.equal(String(chunk), text)
      }
      await echo('before')
      // Alice's stream, by its id, as a peer might name it.
      const whose = { machine: 'desk', subject: 'alice', owner: 'alice' }
      const about = (token: string) => foreignFrames({ id: stream.stream.id, kind: 'ssh', ...whose }, token)
      const [mallory, herAgent] = [
        scene.token('mallory'),
        scene.token('alice', { roles: ['agent'], machine: 'other' }),
      ]
      const peers = {
        'a client': [
          'client',
          () => new RawClient(t, { url: scene.proxy.url, token: mallory }).hello(),
          about(scene.token('alice')),
        ],
        'an agent': ['agent', () => agentOf(t, scene, 'mine', mallory), about(scene.token('alice'))],
        'an agent of hers': ['agent', () => agentOf(t, scene, 'other', herAgent), about(mallory)],
      } as const
      for (const [type, entry] of Object.entries(FRAMES)) {
        for (const [who, [role, dial, foreign]] of Object.entries(peers)) {
          const raw = await dial()
          const frame = foreign[type as keyof typeof FrameType]
          assert.equal(await outcomeOf(raw, frame, type === 'AUTH'), entry[role], `${type} of ${who}`)
          raw.socket.terminate()
          await echo(`${type} ${who}`)
        }
      }
    },
  )

  await t.test('no forgery renews a link, and none opens one', async (t) => {
    for (const [what, token] of Object.entries(scene.forged)) {
      scene.secrets.add(token)
      const raw = await new RawClient(t, { url: scene.proxy.url, token: scene.token('alice') }).hello()
      raw.json(FrameType.AUTH, 0, { token })
      const { code, reason } = await raw.closed
      scene.told.push(reason)
      assert.equal(code, 4401, what)
    }
  })

  await t.test('no secret stands in any log, close reason, metric or line of the audit trail', async () => {
    assert.ok(scene.proxy.log.length > 100 && scene.secrets.size > 60)
    await assertNoneIsPrinted(scene)
  })
})
