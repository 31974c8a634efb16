// `npm run chaos`: what the network may do to one proxy, or, with `cluster`, what may happen to several.
const [, , first] = process.argv
if (first === 'cluster') {
  process.argv.splice(2, 1)
  await import('./cluster/run.ts')
} else await import('./matrix.ts')
