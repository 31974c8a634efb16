// `npm run chaos`: what a network may do to one proxy; with `cluster`, what may happen to several; with `cluster day`, all of it.
const form = process.argv.slice(2).join(' ')
const [words, module] = form.startsWith('cluster day')
  ? [2, './cluster/run-day.ts']
  : form.startsWith('cluster')
    ? [1, './cluster/run.ts']
    : [0, './matrix.ts']
process.argv.splice(2, words)
await import(module)
