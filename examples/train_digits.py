import qnn

train, test = (qnn.data.load("digits", split) for split in ("train", "test"))
model = qnn.models.build(
    "digits-cnn", recipe="dfp8", input_shape=(8, 8, 1), classes=10, mean=train.mean, std=train.std, seed=1
)
criterion = qnn.nn.CrossEntropyLoss(model.recipe)
optimizer = qnn.optim.SGD(model.named_parameters(), momentum=0.9)
run = qnn.nn.prepare(model, criterion, seed=1)
for epoch in range(3):
    for images, labels, _ in qnn.data.batches(train, batch_size=32, seed=1, epoch=epoch):
        criterion(model(images), labels).backward()
        optimizer.step(lr=0.05)
        optimizer.zero_grad()
        run.advance()  # the exponents move, and the noise of the next step begins
print(f"test accuracy {(model.eval()(test.images).numpy().argmax(axis=1) == test.labels).mean():.1%}")
